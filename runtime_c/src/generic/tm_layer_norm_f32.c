/* Rows of floats normalised. No scratch. */
#include <stddef.h>

#include "tm_normalize.h"

static tm_status tm_layer_norm_f32(const tm_layer_norm_f32_params *p, const float *in,
                                   const float *scale, const float *shift, float *out,
                                   void *scratch) {
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    float mean = 0.0f;
    float variance = 0.0f;
    if (p->centre) {
      for (int32_t i = 0; i < p->depth; ++i) {
        mean += in[i];
      }
      mean /= (float)p->depth;
    }
    for (int32_t i = 0; i < p->depth; ++i) {
      variance += (in[i] - mean) * (in[i] - mean);
    }
    variance = 1.0f / sqrtf(variance / (float)p->depth + p->epsilon);
    for (int32_t i = 0; i < p->depth; ++i) {
      const float y = (in[i] - mean) * variance * scale[i];
      out[i] = shift == NULL ? y : y + shift[i];
    }
    in += p->depth;
    out += p->depth;
  }
  return TM_OK;
}
