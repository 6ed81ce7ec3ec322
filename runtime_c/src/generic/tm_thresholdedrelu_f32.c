/* x above alpha, else 0. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_thresholdedrelu_f32, x > p->alpha ? x : 0.0f)
