/* The product of two int8 in exact short form. No scratch. */
#include "tm_binary.h"
#include "tm_line.h"
#include "tm_rescale.h"

static inline int8_t tm_product_one_s8(const tm_product_s8_params *p, int8_t first, int8_t second) {
  const int32_t product = (first - p->first_zero) * (second - p->second_zero);
  const int32_t y = tm_bent_line(product, p->up, p->multiplier, p->offset, p->bend, p->down);
  return (int8_t)tm_clamp(y, p->lo, p->hi);
}

TM_BINARY_KERNEL(tm_product_s8, tm_product_s8_params, int8_t, tm_product_one_s8)
