/* int64_t to floats. No scratch. */
#include "tm_cast.h"

TM_CAST_KERNEL(tm_cast_s64_f32, int64_t, float, x)
