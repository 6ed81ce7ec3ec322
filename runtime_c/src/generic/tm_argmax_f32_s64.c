/* Indices of the greatest or least elements. No scratch. */
#include "tm_reduce.h"

TM_ARGMAX_KERNEL(tm_argmax_f32_s64, float, int64_t)
