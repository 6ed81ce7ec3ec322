/* Indices of the greatest or least elements. No scratch. */
#include "tm_reduce.h"

TM_ARGMAX_KERNEL(tm_argmax_s8_s32, int8_t, int32_t)
