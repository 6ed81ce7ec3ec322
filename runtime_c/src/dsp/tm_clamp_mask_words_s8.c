/* Four values at a time are compared by SSUB8. No scratch. */
#include "tm_clamp_mask.h"
#include "tm_dsp.h"

/* 1 in each byte that lies within [least, most], bytes of which are given four times. */
static TM_INLINE uint32_t tm_mask_within(uint32_t word, uint32_t least, uint32_t most,
                                         uint32_t ones) {
#if defined(TM_DSP_ASM)
  uint32_t found;
  uint32_t dropped;
  __asm__(
      "ssub8 %1, %2, %3\n\t"
      "sel %0, %5, %6\n\t"
      "ssub8 %1, %4, %2\n\t"
      "sel %0, %0, %6"
      : "=&r"(found), "=&r"(dropped)
      : "r"(word), "r"(least), "r"(most), "r"(ones), "r"(0u)
      : "cc");
  return found;
#else
  uint32_t found = 0;
  for (int32_t place = 0; place < 32; place += 8) {
    const int8_t x = (int8_t)(word >> place & 0xFFu);
    const int32_t inside = x >= (int8_t)(least & 0xFFu) && x <= (int8_t)(most & 0xFFu);
    found |= (uint32_t)inside << place;
  }
  return found & ones;
#endif
}

static tm_status tm_clamp_mask_words_s8(const tm_clamp_mask_s8_params *p, const int8_t *y,
                                        uint8_t *bits, void *scratch) {
  const uint32_t least = ((uint32_t)(p->lo + 1) & 0xFFu) * 0x01010101u;
  const uint32_t most = ((uint32_t)(p->hi - 1) & 0xFFu) * 0x01010101u;
  const uint32_t ones = 0x01010101u;
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    int32_t left = p->row;
    for (; left >= 8; left -= 8) {
      const uint32_t low = tm_mask_within(tm_load4(y), least, most, ones);
      const uint32_t high = tm_mask_within(tm_load4(y + 4), least, most, ones);
      /* the product gathers bits 0, 8, 16, 24 in 24 to 27 */
      *bits++ = (uint8_t)(((low | high << 4) * 0x01020408u) >> 24);
      y += 8;
    }
    if (left > 0) {
      uint32_t found = 0;
      for (int32_t k = 0; k < left; ++k) {
        const int32_t value = *y++;
        found |= (uint32_t)(value > p->lo && value < p->hi) << k;
      }
      *bits++ = (uint8_t)found;
    }
  }
  return TM_OK;
}
