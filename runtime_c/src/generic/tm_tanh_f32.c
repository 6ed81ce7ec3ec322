/* tanh(x). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_tanh_f32, tanhf(x))
