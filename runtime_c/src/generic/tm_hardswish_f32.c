/* x * clamp(x / 6 + 1 / 2, 0, 1). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_hardswish_f32, x *tm_unit(x / 6.0f + 0.5f))
