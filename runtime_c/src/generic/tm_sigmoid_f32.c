/* 1 / (1 + e^-x). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_sigmoid_f32, 1.0f / (1.0f + expf(-x)))
