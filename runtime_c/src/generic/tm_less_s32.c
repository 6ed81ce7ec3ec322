/* Whether a < b. No scratch. */
#include "tm_compare.h"

static inline uint8_t tm_less_one_s32(const tm_compare_params *p, int32_t a, int32_t b) {
  (void)p;
  return a < b;
}

TM_COMPARE_KERNEL(tm_less_s32, int32_t, tm_less_one_s32)
