/* square root of x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_sqrt_f32, sqrtf(x))
