/* Whether a <= b. No scratch. */
#include "tm_compare.h"

static inline uint8_t tm_less_equal_one_f32(const tm_compare_params *p, float a, float b) {
  (void)p;
  return a <= b;
}

TM_COMPARE_KERNEL(tm_less_equal_f32, float, tm_less_equal_one_f32)
