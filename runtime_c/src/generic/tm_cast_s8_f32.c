/* int8_t to floats. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_s8_f32, int8_t, float, x)
