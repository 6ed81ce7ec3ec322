/* The product of two int8 by way of floats, the ONNX definition. No scratch. */
#include "tm_binary.h"
#include "tm_rescale.h"

static inline int8_t tm_mul_real_one_s8(const tm_binary_real_s8_params *p, int8_t first,
                                        int8_t second) {
  const float a = (float)(first - p->first_zero) * p->first_scale;
  const float b = (float)(second - p->second_zero) * p->second_scale;
  const float y = a * b;
  return (int8_t)tm_clamp(tm_round_even(y / p->out_scale) + p->out_zero, p->lo, p->hi);
}

TM_BINARY_KERNEL(tm_mul_real_s8, tm_binary_real_s8_params, int8_t, tm_mul_real_one_s8)
