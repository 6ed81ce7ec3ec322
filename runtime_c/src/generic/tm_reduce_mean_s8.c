/* Mean of int8 values, cut towards zero. No scratch. */
#include "tm_reduce.h"

static inline int8_t tm_reduce_mean_one(const tm_reduce_mean_s8_params *p, int32_t sum) {
  return (int8_t)(sum / p->divisor);
}

TM_REDUCE_SUM_KERNEL(tm_reduce_mean_s8, tm_reduce_mean_s8_params, tm_reduce_mean_one)
