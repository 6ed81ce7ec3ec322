/* x / (1 + e^(-alpha * x)). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_swish_f32, x / (1.0f + expf(-p->alpha * x)))
