/* x * x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_square_f32, x *x)
