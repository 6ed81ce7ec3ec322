/* ln(1 + e^x). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_softplus_f32, tm_softplus(x))
