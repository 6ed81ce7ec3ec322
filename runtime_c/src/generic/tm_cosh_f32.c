/* cosh x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_cosh_f32, coshf(x))
