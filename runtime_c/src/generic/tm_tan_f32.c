/* tan x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_tan_f32, tanf(x))
