/* x clamped to alpha .. beta. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_clip_f32, x < p->alpha ? p->alpha : (x > p->beta ? p->beta : x))
