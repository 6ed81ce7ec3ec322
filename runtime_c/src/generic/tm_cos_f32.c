/* cos x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_cos_f32, cosf(x))
