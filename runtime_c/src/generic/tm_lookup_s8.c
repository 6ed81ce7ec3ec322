/* Table lookup of int8 values. No scratch. */
#include "tm_lookup.h"

static tm_status tm_lookup_s8(const tm_lookup_s8_params *p, const int8_t *in, int8_t *out,
                              void *scratch) {
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    out[i] = p->table[in[i] + 128];
  }
  return TM_OK;
}
