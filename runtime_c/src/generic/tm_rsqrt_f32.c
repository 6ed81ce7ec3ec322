/* 1 / sqrt(x). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_rsqrt_f32, 1.0f / sqrtf(x))
