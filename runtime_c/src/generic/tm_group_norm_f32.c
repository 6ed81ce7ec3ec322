/* Groups of channels of each map normalised, floats; a group of one is instance normalisation.
 * No scratch. */
#include "tm_normalize.h"

static tm_status tm_group_norm_f32(const tm_group_norm_f32_params *p, const float *in,
                                   const float *scale, const float *shift, float *out,
                                   void *scratch) {
  const int32_t size = p->channels / p->groups;
  const float count = (float)size * (float)p->places;
  (void)scratch;
  for (int32_t n = 0; n < p->batch; ++n) {
    for (int32_t first = 0; first < p->channels; first += size) {
      float mean = 0.0f;
      float variance = 0.0f;
      for (int32_t i = 0; i < p->places; ++i) {
        float part = 0.0f; /* sums of rows first: the total loses fewer digits */
        for (int32_t c = first; c < first + size; ++c) {
          part += in[i * p->channels + c];
        }
        mean += part;
      }
      mean /= count;
      for (int32_t i = 0; i < p->places; ++i) {
        float part = 0.0f;
        for (int32_t c = first; c < first + size; ++c) {
          const float d = in[i * p->channels + c] - mean;
          part += d * d;
        }
        variance += part;
      }
      variance = 1.0f / sqrtf(variance / count + p->epsilon);
      for (int32_t i = 0; i < p->places; ++i) {
        for (int32_t c = first; c < first + size; ++c) {
          const int32_t at = i * p->channels + c;
          out[at] = (in[at] - mean) * variance * scale[c] + shift[c];
        }
      }
    }
    in += p->places * p->channels;
    out += p->places * p->channels;
  }
  return TM_OK;
}
