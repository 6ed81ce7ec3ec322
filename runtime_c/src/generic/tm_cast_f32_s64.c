/* Floats to int64_t. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_f32_s64, float, int64_t,
               TM_CUT(x, int64_t, INT64_MIN, INT64_MAX, 9223372036854775808.0f))
