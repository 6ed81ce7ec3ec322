/* One row of softmax in gemmlowp's fixed point: the sum of exponentials has 12 integer bits. */
#ifndef TM_FIXED_SOFTMAX_H
#define TM_FIXED_SOFTMAX_H

#include <stdint.h>

static inline int32_t tm_doubling_high(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

static inline int32_t tm_divide_pot(int32_t x, int32_t exponent) {
  const int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1u);
  const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

static inline int32_t tm_shift_left_saturating(int32_t x, int32_t bits) {
  const int64_t wide = (int64_t)x * ((int64_t)1 << bits);
  return wide > INT32_MAX ? INT32_MAX : (wide < INT32_MIN ? INT32_MIN : (int32_t)wide);
}

/* 1 / (1 + a) for a in [0, 1), both Q0.31, by Newton's method from 48/17 - 32/17 d. */
static inline int32_t tm_reciprocal(int32_t a) {
  const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
  int32_t x = 1515870810 + tm_doubling_high(half, -1010580540);
  for (int32_t i = 0; i < 3; ++i) {
    const int32_t rest = (1 << 29) - tm_doubling_high(half, x);
    x += tm_shift_left_saturating(tm_doubling_high(x, rest), 2);
  }
  return tm_shift_left_saturating(x, 1);
}

/* The factor and the exponent that scale an exponential of a row with this sum (Q12.19). */
static inline int32_t tm_softmax_factor(int32_t sum, int32_t *exponent) {
  int32_t headroom = 0;
  uint32_t bits = (uint32_t)sum;
  while (headroom < 32 && (bits & 0x80000000u) == 0u) {
    bits <<= 1;
    ++headroom;
  }
  *exponent = 12 - headroom + 31;
  return tm_reciprocal((int32_t)(bits - 0x80000000u));
}

#endif
