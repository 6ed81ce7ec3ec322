/* Floats to int16_t. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_f32_s16, float, int16_t, TM_CUT(x, int16_t, INT16_MIN, INT16_MAX, 32768.0f))
