/* int32_t to floats. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_s32_f32, int32_t, float, x)
