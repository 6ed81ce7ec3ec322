/* 1 / x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_reciprocal_f32, 1.0f / x)
