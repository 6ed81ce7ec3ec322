/* The opposite of each boolean. No scratch. */
#include "tm_unary.h"

static tm_status tm_not_b8(const tm_not_b8_params *p, const uint8_t *in, uint8_t *out,
                           void *scratch) {
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    out[i] = in[i] == 0;
  }
  return TM_OK;
}
