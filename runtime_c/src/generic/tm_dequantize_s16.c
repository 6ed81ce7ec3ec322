/* int16_t to floats. No scratch. */
#include "tm_quantize.h"

static tm_status tm_dequantize_s16(const tm_dequantize_params *p, const int16_t *in, float *out,
                                   void *scratch) {
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    out[i] = (float)(in[i] - p->zero) * p->scale;
  }
  return TM_OK;
}
