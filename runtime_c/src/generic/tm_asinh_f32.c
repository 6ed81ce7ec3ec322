/* arsinh x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_asinh_f32, asinhf(x))
