/* arcsine of x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_asin_f32, asinf(x))
