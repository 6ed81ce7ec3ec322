/* x rounded, half to even. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_round_f32, nearbyintf(x))
