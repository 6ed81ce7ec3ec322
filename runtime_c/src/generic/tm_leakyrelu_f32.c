/* x, or alpha * x below 0. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_leakyrelu_f32, x < 0.0f ? p->alpha * x : x)
