/* Mantissas of gradients with the instructions of the DSP extension, two to a word. */
#ifndef TM_MANTISSAS_H
#define TM_MANTISSAS_H

#include "tm_dsp.h"
#include "tm_gradient.h"

/* How sums become mantissas, for shifts from 2 on: the high word of a sum times `scale`, rounded,
 * is the sum shifted and rounded; `high` and `low` are the limits' distances from those of int16.
 */
typedef struct {
  int32_t scale;
  uint32_t high, low;
} tm_mantissas;

static inline tm_mantissas tm_mantissas_of(int32_t shift, int32_t limit) {
  tm_mantissas how;
  how.scale = (int32_t)((uint32_t)1 << (32 - shift));
  how.high = (uint32_t)(32767 - limit) * 0x10001u;
  how.low = (uint32_t)(32768 - limit) * 0x10001u;
  return how;
}

/* Two sums as mantissas, that of `first` in the low half. */
static TM_INLINE uint32_t tm_mantissas_pair(const tm_mantissas *how, int32_t first,
                                            int32_t second) {
#if defined(TM_DSP_ASM)
  uint32_t pair;
  __asm__(
      "smmulr %1, %1, %3\n\t"
      "smmulr %2, %2, %3\n\t"
      "ssat %1, #16, %1\n\t"
      "ssat %2, #16, %2\n\t"
      "pkhbt %0, %1, %2, lsl #16\n\t"
      "qadd16 %0, %0, %4\n\t"
      "ssub16 %0, %0, %4\n\t"
      "qsub16 %0, %0, %5\n\t"
      "sadd16 %0, %0, %5"
      : "=&r"(pair), "+&r"(first), "+&r"(second)
      : "r"(how->scale), "r"(how->high), "r"(how->low));
  return pair;
#else
  const int64_t half = (int64_t)1 << 31;
  const int32_t limit = 32767 - (int32_t)(how->high & 0xFFFFu);
  const int32_t low = (int32_t)(((int64_t)first * how->scale + half) >> 32);
  const int32_t high = (int32_t)(((int64_t)second * how->scale + half) >> 32);
  return tm_pack16(tm_gradient_of(low, 0, limit), tm_gradient_of(high, 0, limit));
#endif
}

/* As tm_mantissas_pair, of the products of the low and of the high halves. */
static TM_INLINE uint32_t tm_mantissas_product(const tm_mantissas *how, uint32_t a, uint32_t b) {
#if defined(TM_DSP_ASM)
  int32_t low;
  int32_t high;
  __asm__("smulbb %0, %1, %2" : "=r"(low) : "r"(a), "r"(b));
  __asm__("smultt %0, %1, %2" : "=r"(high) : "r"(a), "r"(b));
  return tm_mantissas_pair(how, low, high);
#else
  return tm_mantissas_pair(how, tm_low16(a) * tm_low16(b), tm_high16(a) * tm_high16(b));
#endif
}

/* All bits of the halves whose bit of `mask`, `place` or the one above, is set. */
static TM_INLINE uint32_t tm_mantissas_mask(uint32_t mask, int32_t place) {
  const uint32_t low = 0u - (mask >> place & 1u);
  const uint32_t high = 0u - (mask >> (place + 1) & 1u);
  return (low & 0xFFFFu) | high << 16;
}

/* Two values from any address. */
static inline uint32_t tm_mantissas_load(const int16_t *from) {
  uint32_t pair;
  memcpy(&pair, from, sizeof pair);
  return pair;
}

static inline void tm_mantissas_store(int16_t *to, uint32_t pair) {
  memcpy(to, &pair, sizeof pair);
}

#endif
