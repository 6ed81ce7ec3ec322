/* int16_t to floats. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_s16_f32, int16_t, float, x)
