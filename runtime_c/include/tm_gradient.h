/* Gradients: int16 mantissas whose exponents are known at compile time, but for one that all of a
 * step share. How an integer sum becomes one. */
#ifndef TM_GRADIENT_H
#define TM_GRADIENT_H

#include <stdint.h>

/* saturate(v * 2^-shift) to [-limit, limit], rounded half up; shift in [0, 31]. Right for every v:
 * nothing overflows on the way. */
static inline int16_t tm_gradient_of(int32_t v, int32_t shift, int32_t limit) {
  if (shift > 0) {
    v = ((v >> (shift - 1)) + 1) >> 1;
  }
  return (int16_t)(v < -limit ? -limit : (v > limit ? limit : v));
}

#endif
