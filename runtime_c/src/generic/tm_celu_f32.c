/* x, or alpha * (e^(x / alpha) - 1) below 0. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_celu_f32, x < 0.0f ? p->alpha * expm1f(x / p->alpha) : x)
