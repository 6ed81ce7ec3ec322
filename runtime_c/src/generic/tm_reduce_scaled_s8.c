/* Sum or mean of int8 values, scaled in float. No scratch. */
#include "tm_reduce.h"
#include "tm_rescale.h"

static inline int8_t tm_reduce_scaled_one(const tm_reduce_scaled_s8_params *p, int32_t sum) {
  const int32_t y = tm_round_even((float)(sum - p->in_zero) * p->scale);
  return (int8_t)tm_clamp(y + p->out_zero, INT8_MIN, INT8_MAX);
}

TM_REDUCE_SUM_KERNEL(tm_reduce_scaled_s8, tm_reduce_scaled_s8_params, tm_reduce_scaled_one)
