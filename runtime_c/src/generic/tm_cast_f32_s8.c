/* Floats to int8_t. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_f32_s8, float, int8_t, TM_CUT(x, int8_t, INT8_MIN, INT8_MAX, 128.0f))
