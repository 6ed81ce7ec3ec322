/* Local response normalisation across channels of floats. No scratch. */
#include "tm_normalize.h"

static tm_status tm_lrn_f32(const tm_lrn_f32_params *p, const float *in, float *out,
                            void *scratch) {
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    for (int32_t c = 0; c < p->channels; ++c) {
      const int32_t first = c < p->before ? 0 : c - p->before;
      const int32_t end = c + p->after + 1 > p->channels ? p->channels : c + p->after + 1;
      float sum = 0.0f;
      for (int32_t k = first; k < end; ++k) {
        sum += in[k] * in[k];
      }
      out[c] = in[c] / powf(p->bias + p->alpha * sum, p->beta);
    }
    in += p->channels;
    out += p->channels;
  }
  return TM_OK;
}
