/* x * (1 + erf(x / sqrt 2)) / 2. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_gelu_f32, 0.5f * x * erfcf(x * -0.70710678f))
