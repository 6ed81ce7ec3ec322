/* int32_t to floats. No scratch. */
#include "tm_quantize.h"

static tm_status tm_dequantize_s32(const tm_dequantize_params *p, const int32_t *in, float *out,
                                   void *scratch) {
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    out[i] = (float)(in[i] - p->zero) * p->scale;
  }
  return TM_OK;
}
