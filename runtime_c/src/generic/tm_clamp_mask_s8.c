/* Eight values to a byte. No scratch. */
#include "tm_clamp_mask.h"

static tm_status tm_clamp_mask_s8(const tm_clamp_mask_s8_params *p, const int8_t *y, uint8_t *bits,
                                  void *scratch) {
  const int32_t lo = p->lo;
  const int32_t hi = p->hi;
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    for (int32_t left = p->row; left > 0; left -= 8) {
      const int32_t count = left < 8 ? left : 8;
      uint32_t found = 0;
      for (int32_t k = 0; k < count; ++k) {
        const int32_t value = *y++;
        found |= (uint32_t)(value > lo && value < hi) << k;
      }
      *bits++ = (uint8_t)found;
    }
  }
  return TM_OK;
}
