/* Indices of the greatest or least elements. No scratch. */
#include "tm_reduce.h"

TM_ARGMAX_KERNEL(tm_argmax_s8_s64, int8_t, int64_t)
