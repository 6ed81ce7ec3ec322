/* x rounded down. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_floor_f32, floorf(x))
