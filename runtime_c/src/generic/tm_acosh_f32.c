/* arcosh x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_acosh_f32, acoshf(x))
