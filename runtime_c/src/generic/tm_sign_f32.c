/* -1, 0 or 1. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_sign_f32, (float)((x > 0.0f) - (x < 0.0f)))
