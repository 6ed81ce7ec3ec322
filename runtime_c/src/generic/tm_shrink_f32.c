/* x less beta above alpha, x plus beta below -alpha, else 0. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_shrink_f32, x > p->alpha ? x - p->beta : (x < -p->alpha ? x + p->beta : 0.0f))
