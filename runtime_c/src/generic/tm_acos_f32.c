/* arccosine of x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_acos_f32, acosf(x))
