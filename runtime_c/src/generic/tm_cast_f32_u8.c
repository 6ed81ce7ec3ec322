/* Floats to uint8_t. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_f32_u8, float, uint8_t, x >= 255.0f ? 255 : (x >= 0.0f ? (uint8_t)x : 0))
