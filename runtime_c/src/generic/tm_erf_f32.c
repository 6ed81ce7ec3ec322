/* error function of x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_erf_f32, erff(x))
