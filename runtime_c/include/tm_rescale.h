/* From an integer accumulator to an output integer, byte for byte on every target.
 *
 * The including model defines TM_RESCALE_FIXED and/or TM_RESCALE_FLOAT for the forms its
 * layers use, so that a model of one form carries no code of the other.
 */
#ifndef TM_RESCALE_H
#define TM_RESCALE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* acc * multiplier * 2^(shift - 31): rounding doubling high multiply, then a rounding shift,
 * half away from zero (gemmlowp's double rounding, as TensorFlow Lite uses it).
 * multiplier in [0, 2^31), shift in [-31, 30]. */
static inline int32_t tm_scale_fixed(int32_t acc, int32_t multiplier, int32_t shift) {
  const uint32_t left = shift > 0 ? (uint32_t)shift : 0u;
  const uint32_t right = shift > 0 ? 0u : (uint32_t)(-shift);
  const int32_t shifted = (int32_t)((uint32_t)acc << left);
  const int64_t product = (int64_t)shifted * multiplier + ((int64_t)1 << 30);
  const int32_t high = (int32_t)(product >> 31);
  const int32_t mask = (int32_t)(((uint32_t)1 << right) - 1u);
  const int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
  return (high >> right) + ((high & mask) > threshold ? 1 : 0);
}

/* Nearest integer, half to even, of a float; clipped to +-2^22; NaN gives 0. Adding 1.5 * 2^23
 * leaves the rounded value in the low bits under the default rounding mode of IEEE 754. */
static inline int32_t tm_round_even(float x) {
  const float limit = 4194304.0f;
  int32_t bits;
#if defined(__ARM_FP) && (__ARM_FP & 4) && defined(__GNUC__)
  /* saturates; NaN becomes 0 */
  __asm__("vcvtr.s32.f32 %0, %0" : "+t"(x));
  memcpy(&bits, &x, sizeof bits);
  return bits < -(int32_t)limit ? -(int32_t)limit : (bits > (int32_t)limit ? (int32_t)limit : bits);
#else
  if (!(x == x)) {
    return 0;
  }
  x = x > limit ? limit : (x < -limit ? -limit : x);
  x = x + 12582912.0f;
  memcpy(&bits, &x, sizeof bits);
  return bits - 0x4B400000;
#endif
}

/* Nearest integer, half away from zero, clipped to +-2^22; NaN gives 0. */
static inline int32_t tm_round_away(float x) {
  const float limit = 4194304.0f;
  int32_t whole;
  if (!(x == x)) {
    return 0;
  }
  x = x > limit ? limit : (x < -limit ? -limit : x);
  whole = (int32_t)x;
  x -= (float)whole;
  return whole + (x >= 0.5f ? 1 : 0) - (x <= -0.5f ? 1 : 0);
}

static inline int32_t tm_clamp(int32_t x, int32_t lo, int32_t hi) {
  return x < lo ? lo : (x > hi ? hi : x);
}

/* The limits of biases among a layer's params; models without variable weights have none. */
#ifdef TM_VARIABLE_WEIGHTS
#define TM_BIAS_LIMIT(p) ((p)->bias_limit)
#else
#define TM_BIAS_LIMIT(p) NULL
#endif

/* The bias of channel c, from which its sum starts. One that is no constant counts for +-limit[c]
 * at most: beyond it all sums are clamped alike, and might leave 32 bits. */
static inline int32_t tm_bias(const int32_t *bias, const int32_t *limit, int32_t c) {
  return limit == NULL ? bias[c] : tm_clamp(bias[c], -limit[c], limit[c]);
}

/* The biases of channels [from, to) as the sums of a kernel with rescaling records start from them:
 * limited as by tm_bias, shifted, and with what makes the rescaling exact. For each channel `terms`
 * holds {limit, shift, addend}. */
static inline void tm_prepare_biases(const int32_t *terms, const int32_t *bias, int32_t from,
                                     int32_t to, int32_t *start) {
  for (terms += 3 * from; from < to; ++from, terms += 3) {
    const uint32_t limited = (uint32_t)tm_clamp(bias[from], -terms[0], terms[0]);
    *start++ = (int32_t)((limited << terms[1]) + (uint32_t)terms[2]);
  }
}

/* Rescales the accumulator of channel c: by `scale` where it is given, else in fixed point. */
static inline int32_t tm_rescale(int32_t acc, const int32_t *multiplier, const int8_t *shift,
                                 const float *scale, int32_t c) {
#if defined(TM_RESCALE_FLOAT) && defined(TM_RESCALE_FIXED)
  if (scale != NULL) {
    return tm_round_even((float)acc * scale[c]);
  }
  return tm_scale_fixed(acc, multiplier[c], shift[c]);
#elif defined(TM_RESCALE_FLOAT)
  (void)multiplier;
  (void)shift;
  return tm_round_even((float)acc * scale[c]);
#else
  (void)scale;
  return tm_scale_fixed(acc, multiplier[c], shift[c]);
#endif
}

#endif
