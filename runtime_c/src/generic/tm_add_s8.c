/* The sum of two int8 in TensorFlow Lite's fixed point. No scratch. */
#include "tm_binary.h"
#include "tm_rescale.h"

static inline int8_t tm_add_one_s8(const tm_sum_s8_params *p, int8_t first, int8_t second) {
  const int32_t a =
      tm_scale_fixed((first - p->first_zero) * (1 << 20), p->first_multiplier, p->first_shift);
  const int32_t b =
      tm_scale_fixed((second - p->second_zero) * (1 << 20), p->second_multiplier, p->second_shift);
  const int32_t y = tm_scale_fixed(a + b, p->multiplier, p->shift) + p->out_zero;
  return (int8_t)tm_clamp(y, p->lo, p->hi);
}

TM_BINARY_KERNEL(tm_add_s8, tm_sum_s8_params, int8_t, tm_add_one_s8)
