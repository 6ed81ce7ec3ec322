/* sinh x. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_sinh_f32, sinhf(x))
