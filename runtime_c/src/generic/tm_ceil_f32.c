/* x rounded up. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_ceil_f32, ceilf(x))
