/* Floats to int16_t. No scratch. */
#include "tm_quantize.h"
#include "tm_rescale.h"

static tm_status tm_quantize_s16(const tm_quantize_params *p, const float *in, int16_t *out,
                                 void *scratch) {
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    const float x = in[i] / p->scale;
    const int32_t rounded = p->away ? tm_round_away(x) : tm_round_even(x);
    out[i] = (int16_t)tm_clamp(rounded + p->zero, p->lo, p->hi);
  }
  return TM_OK;
}
