/* The product of two int8 in TensorFlow Lite's fixed point. No scratch. */
#include "tm_binary.h"
#include "tm_rescale.h"

static inline int8_t tm_mul_one_s8(const tm_mul_s8_params *p, int8_t first, int8_t second) {
  const int32_t product = (first - p->first_zero) * (second - p->second_zero);
  const int32_t y = tm_scale_fixed(product, p->multiplier, p->shift) + p->out_zero;
  return (int8_t)tm_clamp(y, p->lo, p->hi);
}

TM_BINARY_KERNEL(tm_mul_s8, tm_mul_s8_params, int8_t, tm_mul_one_s8)
