/* No scratch. */
#include "tm_gradient_lookup.h"

static tm_status tm_gradient_lookup_s16(const tm_gradient_lookup_s16_params *p, const int16_t *g,
                                        const int8_t *q, int16_t *y, void *scratch) {
  (void)scratch;
  for (int32_t k = 0; k < p->count; ++k) {
    y[k] = tm_gradient_of(g[k] * p->table[q[k] + 128], p->shift, p->limit);
  }
  return TM_OK;
}
