/* No scratch. */
#include "tm_gradient_add.h"

static tm_status tm_gradient_add_s16(const tm_gradient_add_s16_params *p, const int16_t *a,
                                     const int16_t *b, int16_t *y, void *scratch) {
  (void)scratch;
  for (int32_t k = 0; k < p->count; ++k) {
    y[k] = tm_gradient_of(a[k] * p->first_factor + b[k] * p->second_factor, p->shift, p->limit);
  }
  return TM_OK;
}
