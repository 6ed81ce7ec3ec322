/* Floats to int32_t. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_f32_s32, float, int32_t,
               TM_CUT(x, int32_t, INT32_MIN, INT32_MAX, 2147483648.0f))
