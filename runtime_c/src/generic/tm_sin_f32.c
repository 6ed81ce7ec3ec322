/* sin x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_sin_f32, sinf(x))
