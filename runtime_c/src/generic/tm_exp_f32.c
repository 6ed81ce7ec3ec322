/* e^x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_exp_f32, expf(x))
