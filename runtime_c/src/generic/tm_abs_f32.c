/* |x|. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_abs_f32, fabsf(x))
