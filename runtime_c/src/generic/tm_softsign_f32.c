/* x / (1 + |x|). No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_softsign_f32, x / (1.0f + fabsf(x)))
