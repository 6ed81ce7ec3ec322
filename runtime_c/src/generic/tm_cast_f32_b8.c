/* Whether floats are not 0. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_f32_b8, float, uint8_t, x != 0.0f)
