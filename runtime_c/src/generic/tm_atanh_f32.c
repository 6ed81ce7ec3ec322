/* artanh x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_atanh_f32, atanhf(x))
