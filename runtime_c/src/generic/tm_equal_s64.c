/* Whether a == b. No scratch. */
#include "tm_compare.h"

static inline uint8_t tm_equal_one_s64(const tm_compare_params *p, int64_t a, int64_t b) {
  (void)p;
  return a == b;
}

TM_COMPARE_KERNEL(tm_equal_s64, int64_t, tm_equal_one_s64)
