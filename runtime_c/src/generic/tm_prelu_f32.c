/* a, or a * b where a is below 0. No scratch. */
#include "tm_binary.h"

typedef tm_binary_f32_params tm_prelu_f32_params;

static inline float tm_prelu_one_f32(const tm_binary_f32_params *p, float a, float b) {
  (void)p;
  return a < 0.0f ? a * b : a;
}

TM_BINARY_KERNEL(tm_prelu_f32, tm_binary_f32_params, float, tm_prelu_one_f32)
