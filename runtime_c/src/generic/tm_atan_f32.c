/* arctangent of x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_atan_f32, atanf(x))
