/* max(x, 0). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_relu_f32, x < 0.0f ? 0.0f : x)
