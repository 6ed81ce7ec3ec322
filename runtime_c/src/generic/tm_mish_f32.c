/* x * tanh(ln(1 + e^x)). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_mish_f32, x *tanhf(tm_softplus(x)))
