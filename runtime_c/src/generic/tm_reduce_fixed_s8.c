/* Sum or mean of int8 values in fixed point. No scratch. */
#include "tm_reduce.h"
#include "tm_rescale.h"

static inline int8_t tm_reduce_fixed_one(const tm_reduce_fixed_s8_params *p, int32_t sum) {
  const int32_t y = tm_scale_fixed(sum - p->in_zero, p->multiplier, p->shift);
  return (int8_t)tm_clamp(y + p->out_zero, INT8_MIN, INT8_MAX);
}

TM_REDUCE_SUM_KERNEL(tm_reduce_fixed_s8, tm_reduce_fixed_s8_params, tm_reduce_fixed_one)
