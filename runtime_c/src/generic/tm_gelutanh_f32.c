/* x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2. No scratch. */
#include "tm_unary.h"

TM_UNARY_KERNEL(tm_gelutanh_f32,
                0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x))))
