/* alpha * x + beta clamped to 0 .. 1. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_hardsigmoid_f32, tm_unit(p->alpha *x + p->beta))
