/* beta * (x, or alpha * (e^x - 1) below 0). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_selu_f32, p->beta *(x < 0.0f ? p->alpha * expm1f(x) : x))
