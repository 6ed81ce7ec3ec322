/* int8_t to int32_t of another quantisation. No scratch. */
#include "tm_quantize.h"
#include "tm_rescale.h"

static tm_status tm_requantize_s8_s32(const tm_requantize_params *p, const int8_t *in, int32_t *out,
                                      void *scratch) {
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    const int32_t y = tm_scale_fixed(in[i] - p->in_zero, p->multiplier, p->shift);
    out[i] = (int32_t)tm_clamp(y + p->out_zero, p->lo, p->hi);
  }
  return TM_OK;
}
