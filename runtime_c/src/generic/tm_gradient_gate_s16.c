/* A byte of the mask at a time. No scratch. */
#include "tm_gradient_gate.h"

static tm_status tm_gradient_gate_s16(const tm_gradient_gate_s16_params *p, const int16_t *g,
                                      const uint8_t *bits, const int16_t *multiplier, int16_t *h,
                                      void *scratch) {
  const int32_t step = p->per_channel ? 1 : 0;
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    uint32_t mask = 0;
    int32_t c = 0;
    for (int32_t k = 0; k < p->row; ++k) {
      if (k % 8 == 0) {
        mask = bits == NULL ? 0xFFu : *bits++;
      }
      h[k] = mask & 1u ? tm_gradient_of(g[k] * multiplier[c * step], p->shift, p->limit) : 0;
      mask >>= 1;
      c = c + 1 == p->channels ? 0 : c + 1;
    }
    g += p->row;
    h += p->row;
  }
  return TM_OK;
}
