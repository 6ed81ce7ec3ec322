/* a xor b of booleans. No scratch. */
#include "tm_compare.h"

static inline uint8_t tm_xor_one_b8(const tm_compare_params *p, uint8_t a, uint8_t b) {
  (void)p;
  return (uint8_t)(a ^ b);
}

TM_COMPARE_KERNEL(tm_xor_b8, uint8_t, tm_xor_one_b8)
