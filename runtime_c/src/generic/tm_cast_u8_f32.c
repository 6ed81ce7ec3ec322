/* uint8_t to floats. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_u8_f32, uint8_t, float, x)
