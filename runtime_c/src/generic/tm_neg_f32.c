/* -x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_neg_f32, -x)
