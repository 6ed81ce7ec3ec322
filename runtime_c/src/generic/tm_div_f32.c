/* The quotient of two floats, clamped. No scratch. */
#include "tm_binary.h"

static inline float tm_div_one_f32(const tm_binary_f32_params *p, float a, float b) {
  const float y = a / b;
  return y < p->lo ? p->lo : (y > p->hi ? p->hi : y);
}

TM_BINARY_KERNEL(tm_div_f32, tm_binary_f32_params, float, tm_div_one_f32)
