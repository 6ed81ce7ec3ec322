/* ln x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_log_f32, logf(x))
