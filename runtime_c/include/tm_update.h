/* Steps of weights and biases by float32: each value by itself, no order of sums. The same bits on
 * every target: no fused multiply-add, no math library. */
#ifndef TM_UPDATE_H
#define TM_UPDATE_H

#include <stdint.h>
#include <string.h>

#include "tm_rescale.h"

/* A good mixing of 32 bits (Wellons' lowbias32). */
static inline uint32_t tm_mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7FEB352Du;
  x ^= x >> 15;
  x *= 0x846CA68Bu;
  x ^= x >> 16;
  return x;
}

/* The seed of a layer's random numbers in step `counter`. */
static inline uint32_t tm_update_seed(uint32_t counter, uint32_t layer) {
  return tm_mix(counter * 0x9E3779B9u + layer);
}

/* Evenly spread over [0, 1): value `index` of a seed. */
static inline float tm_update_random(uint32_t seed, uint32_t index) {
  return (float)(int32_t)(tm_mix(seed + index) >> 8) * 5.9604644775390625e-8f;
}

/* What a sum of products counts in a step: (rate * coefficient) * 2^exponent, the exponent cut to
 * that of a normal number. */
static inline float tm_update_factor(float rate, float coefficient, int32_t exponent) {
  const int32_t power = exponent > 127 ? 127 : (exponent < -126 ? -126 : exponent);
  const uint32_t bits = (uint32_t)(power + 127) << 23;
  const float product = rate * coefficient;
  float factor;
  memcpy(&factor, &bits, sizeof factor);
  return product * factor;
}

/* x without its fraction, clipped to some range beyond +-256; any number if it is none. */
static inline int32_t tm_update_cut(float x) {
#if defined(__ARM_FP) && (__ARM_FP & 4) && defined(__GNUC__)
  int32_t whole;
  __asm__("vcvt.s32.f32 %0, %0" : "+t"(x)); /* saturates */
  memcpy(&whole, &x, sizeof whole);
  return whole;
#else
  return x >= 1024.0f ? 1024 : (x > -1024.0f ? (int32_t)x : -1024);
#endif
}

/* The integer next to or below x, |x| < 2^31. */
static inline int32_t tm_update_floor(float x) {
  const int32_t whole = (int32_t)x;
  return whole - (x < (float)whole ? 1 : 0);
}

/* The nearest integer, half to even, |x| <= 2^30. */
static inline int32_t tm_update_nearest(float x) {
  const float magic = 12582912.0f; /* 1.5 * 2^23: the rounded value is in the low bits of the sum */
  int32_t bits;
  if (x >= 4194304.0f || x <= -4194304.0f) {
    /* a multiple of a half, or whole */
    const int32_t low = tm_update_floor(x);
    const float rest = x - (float)low;
    return low + (rest > 0.5f || (rest == 0.5f && (low & 1)) ? 1 : 0);
  }
  x = x + magic;
  memcpy(&bits, &x, sizeof bits);
  return bits - 0x4B400000;
}

/* b - d within int32. */
static inline int32_t tm_update_less(int32_t b, int64_t d) {
  const int64_t less = b - d;
  return less < INT32_MIN ? INT32_MIN : (less > INT32_MAX ? INT32_MAX : (int32_t)less);
}

/* x within signed integers of 8, of 9 bits. */
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
static inline int32_t tm_update_within8(int32_t x) {
  int32_t y;
  __asm__("ssat %0, #8, %1" : "=r"(y) : "r"(x));
  return y;
}

static inline int32_t tm_update_within9(int32_t x) {
  int32_t y;
  __asm__("ssat %0, #9, %1" : "=r"(y) : "r"(x));
  return y;
}
#else
static inline int32_t tm_update_within8(int32_t x) {
  return tm_clamp(x, -128, 127);
}

static inline int32_t tm_update_within9(int32_t x) {
  return tm_clamp(x, -256, 255);
}
#endif

/* As tm_update_weight, stochastic, of a factor that is finite: then so is t, or infinite. */
static inline int32_t tm_update_weight_finite(int32_t w, int32_t sum, float factor, uint32_t seed,
                                              uint32_t index) {
  const float step = (float)sum * factor;
  const float near = (float)w - step;
  const float t = near + tm_update_random(seed, index);
  /* cut to what is beyond int8 in either case, then the next below; t is never -0 */
  const int32_t whole = tm_update_within9(tm_update_cut(t));
  const float rest = t - (float)whole;
  int32_t below;
  memcpy(&below, &rest, sizeof below);
  return tm_update_within8(whole + (below >> 31));
}

/* Weight `index` of a layer after a step of gradient `sum`: w - sum * factor, rounded, within int8;
 * w if that is no number. */
static inline int32_t tm_update_weight(int32_t w, int32_t sum, float factor, int32_t stochastic,
                                       uint32_t seed, uint32_t index) {
  const float step = (float)sum * factor;
  const float t = (float)w - step;
  if (!(t == t)) {
    return w;
  }
  return stochastic ? tm_update_weight_finite(w, sum, factor, seed, index)
                    : tm_update_within8(tm_round_even(t));
}

/* Bias `index` of a layer after a step of gradient `sum`: b - sum * factor, the step rounded and
 * clipped to +-2^30, 0 if it is no number. */
static inline int32_t tm_update_bias(int32_t b, int32_t sum, float factor, int32_t stochastic,
                                     uint32_t seed, uint32_t index) {
  const float most = 1073741824.0f;
  float d = (float)sum * factor;
  int32_t step;
  if (!(d == d)) {
    return b;
  }
  d = d > most ? most : (d < -most ? -most : d);
  if (stochastic) {
    d = d + tm_update_random(seed, index);
    step = tm_update_floor(d);
  } else {
    step = tm_update_nearest(d);
  }
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
  __asm__("qsub %0, %0, %1" : "+r"(b) : "r"(step));
  return b;
#else
  return tm_update_less(b, step);
#endif
}

#endif
