/* Whether a == b. No scratch. */
#include "tm_compare.h"

static inline uint8_t tm_equal_one_s8(const tm_compare_params *p, int8_t a, int8_t b) {
  (void)p;
  return a == b;
}

TM_COMPARE_KERNEL(tm_equal_s8, int8_t, tm_equal_one_s8)
