/* Products of bytes with two weights at once, for cores that multiply one pair of numbers an
 * instruction: the weights of two output channels share a word, w0 + w1 * 2^TM_FIELD.
 *
 * Long sums (cores that add a 64-bit product in one instruction): both channels' sums lie in one
 * 64-bit register, the first in its TM_FIELD low bits; the compiler knows that it fits.
 * Halves (TM_FIELD 16, sums of 32 bits): the products of two taps fit 16 bits a channel. `sum`
 * collects the words modulo 2^32, `high` the upper halves; the lower sum follows from the two.
 *
 * TM_PAIRS_ASM is defined where the assembly is compiled; all else runs its C twins.
 */
#ifndef TM_PAIRS_H
#define TM_PAIRS_H

#include <stdint.h>
#include <string.h>

#include "tm_rescale.h"

#if defined(__thumb2__) && defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__) && \
    !defined(TM_NO_ASM)
#define TM_PAIRS_ASM
#endif

#if defined(__GNUC__)
#define TM_PAIRS_INLINE inline __attribute__((always_inline))
#define TM_PAIRS_NOINLINE __attribute__((noinline))
#else
#define TM_PAIRS_INLINE inline
#define TM_PAIRS_NOINLINE
#endif

#ifndef TM_INSTANCE
#define TM_INSTANCE(name) name
#endif

/* Bytes of `runs` stretches of `length`, `step` apart. */
typedef struct {
  int32_t runs, length, step;
} tm_pairs_taps;

/* What the blocks of a layer share. Records follow the words of a block: for each channel
 * {bias, multiplier, offset[, correction], down}, the correction where TM_SIGNED, so that
 * y = (high32(((sum << up) + bias) * multiplier) + offset - (sum < 0 ? correction : 0)) >> down;
 * in blocks rescaled by the definition only the bias counts, in the accumulator's unit. */
#define TM_PAIRS_RECORD(is_signed) ((is_signed) ? 5 : 4)

typedef struct {
  int32_t out_zero, lo, hi;
  const int32_t *multiplier;
  const int8_t *shift;
  const float *scale;
} tm_pairs_rescaling;

/* High half of a 64-bit product; b is not negative. */
static inline int32_t tm_high32(int32_t a, int32_t b) {
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
  const uint32_t al = (uint32_t)a & 0xFFFFu, bl = (uint32_t)b & 0xFFFFu;
  const int32_t ah = a >> 16, bh = b >> 16;
  const uint32_t low = al * bl;
  const uint32_t cross = (uint32_t)bh * al + (low >> 16);
  const int32_t other = (int32_t)((uint32_t)ah * bl + (cross & 0xFFFFu));
  return ah * bh + (int32_t)(cross >> 16) + (other >> 16);
#else
  return (int32_t)(((int64_t)a * b) >> 32);
#endif
}

/* Saturates to int8. */
static inline int32_t tm_saturate8(int32_t x) {
#if defined(TM_PAIRS_ASM)
  __asm__("ssat %0, #8, %0" : "+r"(x));
  return x;
#else
  return (uint32_t)x + 128u > 255u ? (x >> 31) ^ 127 : x;
#endif
}

typedef struct {
  int32_t bias, multiplier, offset, correction, down;
} tm_pairs_record;

/* A record in registers: outputs are bytes, which may alias all else. */
static inline tm_pairs_record tm_pairs_load(const int32_t *from, int is_signed) {
  const tm_pairs_record record = {from[0], from[1], from[2], is_signed ? from[3] : 0,
                                  is_signed ? from[4] : from[3]};
  return record;
}

/* `is_signed`: corrections are not all 0; `clamped`: the clamp is narrower than int8. */
static inline int8_t tm_pairs_scale(const tm_pairs_rescaling *how, int32_t sum,
                                    tm_pairs_record record, int32_t up, int is_signed,
                                    int clamped) {
  const int32_t acc = (int32_t)(((uint32_t)sum << up) + (uint32_t)record.bias);
  int32_t y = (int32_t)((uint32_t)tm_high32(acc, record.multiplier) + (uint32_t)record.offset);
  if (is_signed) {
    y -= record.correction & (acc >> 31);
  }
  y >>= record.down;
  return (int8_t)(clamped ? tm_clamp(y, how->lo, how->hi) : tm_saturate8(y));
}

static inline int8_t tm_pairs_define(const tm_pairs_rescaling *how, int32_t sum,
                                     const int32_t *record, int32_t channel) {
  const int32_t acc = (int32_t)((uint32_t)sum + (uint32_t)record[0]);
  const int32_t y = tm_rescale(acc, how->multiplier, how->shift, how->scale, channel);
  return (int8_t)tm_clamp(y + how->out_zero, how->lo, how->hi);
}

/* A word of halves is split after the products of two taps: `high` gets its upper half, which
 * is exact because the lower half was made positive. */
#define TM_HALVES_ADD(sum, high, word)                      \
  do {                                                      \
    const uint32_t word_ = (word);                          \
    (sum) += word_;                                         \
    (high) += (uint32_t)((int32_t)(word_ + 0x8000u) >> 16); \
  } while (0)

/* Sums of a block: [channel][pixel]. */
typedef int32_t tm_pairs_sums[4][2];

static inline void tm_halves_split(uint32_t sum, uint32_t high, int32_t *first, int32_t *second) {
  *second = (int32_t)high;
  *first = (int32_t)(sum - (high << 16));
}

#if defined(__riscv_mul) && __riscv_xlen == 32 && !defined(__riscv_32e) && !defined(__riscv_e) && \
    defined(__GNUC__) && !defined(TM_NO_ASM)
/* Two taps of two pixels and four channels. */
#define TM_HALVES_WORD(x, y, w, v, sum, high) \
  "mul a6, " x ", " w                         \
  "\n\t"                                      \
  "mul a5, " y ", " v                         \
  "\n\t"                                      \
  "add a6, a6, a5\n\t"                        \
  "add %[" sum "], %[" sum                    \
  "], a6\n\t"                                 \
  "add a6, a6, %[half]\n\t"                   \
  "srai a6, a6, 16\n\t"                       \
  "add %[" high "], %[" high "], a6\n\t"
#define TM_HALVES_TAPS(x, y, w0, w1, w2, w3)                                     \
  "lb t0, " x                                                                    \
  "(%[x0])\n\t"                                                                  \
  "lb t1, " y                                                                    \
  "(%[x0])\n\t"                                                                  \
  "lb t2, " x                                                                    \
  "(%[x1])\n\t"                                                                  \
  "lb t3, " y                                                                    \
  "(%[x1])\n\t"                                                                  \
  "lw t4, " w0                                                                   \
  "(%[w])\n\t"                                                                   \
  "lw t5, " w1                                                                   \
  "(%[w])\n\t"                                                                   \
  "lw t6, " w2                                                                   \
  "(%[w])\n\t"                                                                   \
  "lw a7, " w3 "(%[w])\n\t" TM_HALVES_WORD("t0", "t1", "t4", "t6", "s00", "h00") \
      TM_HALVES_WORD("t0", "t1", "t5", "a7", "s10", "h10")                       \
          TM_HALVES_WORD("t2", "t3", "t4", "t6", "s01", "h01")                   \
              TM_HALVES_WORD("t2", "t3", "t5", "a7", "s11", "h11")
#endif

/* Four channels and two pixels. */
static TM_PAIRS_INLINE void tm_halves_4x2(const uint32_t *w, const int8_t *x0, const int8_t *x1,
                                          const tm_pairs_taps *taps, tm_pairs_sums out) {
  uint32_t s00 = 0, s01 = 0, s10 = 0, s11 = 0, h00 = 0, h01 = 0, h10 = 0, h11 = 0;
  const int32_t gap = taps->step - taps->length;
  for (int32_t run = taps->runs; run != 0; --run) {
    const int8_t *const end = x0 + (taps->length & ~3);
#if defined(TM_HALVES_TAPS)
    if (x0 != end) {
      __asm__ volatile(
          "1:\n\t"
          TM_HALVES_TAPS("0", "1", "0", "4", "8", "12")
          TM_HALVES_TAPS("2", "3", "16", "20", "24", "28")
          "addi %[x0], %[x0], 4\n\t"
          "addi %[x1], %[x1], 4\n\t"
          "addi %[w], %[w], 32\n\t"
          "bne %[x0], %[end], 1b\n\t"
          : [s00] "+&r"(s00), [s01] "+&r"(s01), [s10] "+&r"(s10), [s11] "+&r"(s11), [h00] "+&r"(h00),
            [h01] "+&r"(h01), [h10] "+&r"(h10), [h11] "+&r"(h11), [x0] "+&r"(x0), [x1] "+&r"(x1),
            [w] "+&r"(w)
          : [end] "r"(end), [half] "r"(0x8000)
          : "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a5", "a6", "a7", "memory");
    }
#else
    while (x0 != end) {
      uint32_t a = (uint32_t)x0[0], b = (uint32_t)x0[1], c = (uint32_t)x1[0], d = (uint32_t)x1[1];
      TM_HALVES_ADD(s00, h00, a * w[0] + b * w[2]);
      TM_HALVES_ADD(s10, h10, a * w[1] + b * w[3]);
      TM_HALVES_ADD(s01, h01, c * w[0] + d * w[2]);
      TM_HALVES_ADD(s11, h11, c * w[1] + d * w[3]);
      a = (uint32_t)x0[2];
      b = (uint32_t)x0[3];
      c = (uint32_t)x1[2];
      d = (uint32_t)x1[3];
      TM_HALVES_ADD(s00, h00, a * w[4] + b * w[6]);
      TM_HALVES_ADD(s10, h10, a * w[5] + b * w[7]);
      TM_HALVES_ADD(s01, h01, c * w[4] + d * w[6]);
      TM_HALVES_ADD(s11, h11, c * w[5] + d * w[7]);
      x0 += 4;
      x1 += 4;
      w += 8;
    }
#endif
    for (int32_t rest = taps->length & 3; rest != 0; --rest) {
      const uint32_t a = (uint32_t)*x0++, c = (uint32_t)*x1++;
      TM_HALVES_ADD(s00, h00, a * w[0]);
      TM_HALVES_ADD(s10, h10, a * w[1]);
      TM_HALVES_ADD(s01, h01, c * w[0]);
      TM_HALVES_ADD(s11, h11, c * w[1]);
      w += 2;
    }
    x0 += gap;
    x1 += gap;
  }
  tm_halves_split(s00, h00, &out[0][0], &out[1][0]);
  tm_halves_split(s01, h01, &out[0][1], &out[1][1]);
  tm_halves_split(s10, h10, &out[2][0], &out[3][0]);
  tm_halves_split(s11, h11, &out[2][1], &out[3][1]);
}

#undef TM_HALVES_WORD
#undef TM_HALVES_TAPS

/* Four channels and one pixel. */
static inline void tm_halves_4x1(const uint32_t *w, const int8_t *x, const tm_pairs_taps *taps,
                                 tm_pairs_sums out) {
  uint32_t s0 = 0, s1 = 0, h0 = 0, h1 = 0;
  for (int32_t run = taps->runs; run != 0; --run) {
    const int8_t *const end = x + (taps->length & ~3);
    while (x != end) {
      uint32_t a = (uint32_t)x[0], b = (uint32_t)x[1];
      TM_HALVES_ADD(s0, h0, a * w[0] + b * w[2]);
      TM_HALVES_ADD(s1, h1, a * w[1] + b * w[3]);
      a = (uint32_t)x[2];
      b = (uint32_t)x[3];
      TM_HALVES_ADD(s0, h0, a * w[4] + b * w[6]);
      TM_HALVES_ADD(s1, h1, a * w[5] + b * w[7]);
      x += 4;
      w += 8;
    }
    for (int32_t rest = taps->length & 3; rest != 0; --rest) {
      const uint32_t a = (uint32_t)*x++;
      TM_HALVES_ADD(s0, h0, a * w[0]);
      TM_HALVES_ADD(s1, h1, a * w[1]);
      w += 2;
    }
    x += taps->step - taps->length;
  }
  tm_halves_split(s0, h0, &out[0][0], &out[1][0]);
  tm_halves_split(s1, h1, &out[2][0], &out[3][0]);
}

#if defined(__ARM_ARCH_6M__) && defined(__GNUC__) && !defined(__clang__) && \
    defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__)
/* Two taps; only the lower registers multiply and load, the upper ones add. */
#define TM_HALVES_TAPS            \
  "ldmia %[w]!, {r4, r5}\n\t"     \
  "ldrsb r6, [%[x], %[zero]]\n\t" \
  "ldrsb r7, [%[x], %[one]]\n\t"  \
  "muls r4, r6\n\t"               \
  "muls r5, r7\n\t"               \
  "adds r4, r4, r5\n\t"           \
  "add %[s], r4\n\t"              \
  "add r4, %[half]\n\t"           \
  "asrs r4, r4, #16\n\t"          \
  "add %[h], r4\n\t"              \
  "adds %[x], #2\n\t"
#endif

/* Two channels and one pixel. */
static TM_PAIRS_INLINE void tm_halves_2x1(const uint32_t *w, const int8_t *x,
                                          const tm_pairs_taps *taps, tm_pairs_sums out) {
  uint32_t s = 0, h = 0;
  for (int32_t run = taps->runs; run != 0; --run) {
    const int8_t *const end = x + (taps->length & ~3);
#if defined(TM_HALVES_TAPS)
    if (x != end) {
      __asm__ volatile(
          ".syntax unified\n"
          "1:\n\t" TM_HALVES_TAPS TM_HALVES_TAPS
          "cmp %[x], %[end]\n\t"
          "bne 1b\n\t"
          : [s] "+h"(s), [h] "+h"(h), [x] "+l"(x), [w] "+l"(w)
          : [end] "h"(end), [half] "h"(0x8000), [zero] "l"(0), [one] "l"(1)
          : "r4", "r5", "r6", "r7", "cc", "memory");
    }
#else
    while (x != end) {
      TM_HALVES_ADD(s, h, (uint32_t)x[0] * w[0] + (uint32_t)x[1] * w[1]);
      TM_HALVES_ADD(s, h, (uint32_t)x[2] * w[2] + (uint32_t)x[3] * w[3]);
      x += 4;
      w += 4;
    }
#endif
    for (int32_t rest = taps->length & 3; rest != 0; --rest) {
      TM_HALVES_ADD(s, h, (uint32_t)*x++ * *w++);
    }
    x += taps->step - taps->length;
  }
  tm_halves_split(s, h, &out[0][0], &out[1][0]);
}

#undef TM_HALVES_TAPS

/* Sums of two channels in 64 bits, the first one's made positive. */
static inline void tm_long_split(uint32_t low, uint32_t high, int32_t field, int32_t *first,
                                 int32_t *second) {
  *first = (int32_t)(low & (((uint32_t)1 << field) - 1u));
  *second = (int32_t)(high << (32 - field) | low >> field);
}

/* Four channels and two pixels: the words {low, high} of [pixel][pair]. */
static inline void tm_long_4x2(const uint32_t *w, const int8_t *x0, const int8_t *x1,
                               const tm_pairs_taps *taps, int32_t field, uint32_t to[8]) {
  int64_t s00 = (int64_t)1 << (field - 1);
  int64_t s01 = s00, s10 = s00, s11 = s00;
  for (int32_t run = taps->runs; run != 0; --run) {
    for (int32_t i = taps->length; i != 0; --i) {
      s00 += (int64_t)*x0 * (int32_t)w[0];
      s01 += (int64_t)*x0++ * (int32_t)w[1];
      s10 += (int64_t)*x1 * (int32_t)w[0];
      s11 += (int64_t)*x1++ * (int32_t)w[1];
      w += 2;
    }
    x0 += taps->step - taps->length;
    x1 += taps->step - taps->length;
  }
  to[0] = (uint32_t)((uint64_t)s00 & 0xFFFFFFFFu);
  to[1] = (uint32_t)((uint64_t)s00 >> 32);
  to[2] = (uint32_t)((uint64_t)s01 & 0xFFFFFFFFu);
  to[3] = (uint32_t)((uint64_t)s01 >> 32);
  to[4] = (uint32_t)((uint64_t)s10 & 0xFFFFFFFFu);
  to[5] = (uint32_t)((uint64_t)s10 >> 32);
  to[6] = (uint32_t)((uint64_t)s11 & 0xFFFFFFFFu);
  to[7] = (uint32_t)((uint64_t)s11 >> 32);
}

/* Four channels and one pixel: the words {low, high} of both pairs. */
static inline void tm_long_4x1(const uint32_t *w, const int8_t *x, const tm_pairs_taps *taps,
                               int32_t field, uint32_t to[4]) {
  int64_t s0 = (int64_t)1 << (field - 1);
  int64_t s1 = s0;
  for (int32_t run = taps->runs; run != 0; --run) {
    const int8_t *const end = x + (taps->length & ~3);
    while (x != end) {
      s0 += (int64_t)x[0] * (int32_t)w[0];
      s1 += (int64_t)x[0] * (int32_t)w[1];
      s0 += (int64_t)x[1] * (int32_t)w[2];
      s1 += (int64_t)x[1] * (int32_t)w[3];
      s0 += (int64_t)x[2] * (int32_t)w[4];
      s1 += (int64_t)x[2] * (int32_t)w[5];
      s0 += (int64_t)x[3] * (int32_t)w[6];
      s1 += (int64_t)x[3] * (int32_t)w[7];
      x += 4;
      w += 8;
    }
    for (int32_t rest = taps->length & 3; rest != 0; --rest) {
      s0 += (int64_t)*x * (int32_t)w[0];
      s1 += (int64_t)*x++ * (int32_t)w[1];
      w += 2;
    }
    x += taps->step - taps->length;
  }
  to[0] = (uint32_t)((uint64_t)s0 & 0xFFFFFFFFu);
  to[1] = (uint32_t)((uint64_t)s0 >> 32);
  to[2] = (uint32_t)((uint64_t)s1 & 0xFFFFFFFFu);
  to[3] = (uint32_t)((uint64_t)s1 >> 32);
}

#endif
