/* Table lookup of int8 values. No scratch. */
#include "tm_lookup.h"

static tm_status tm_lookup_s8(const tm_lookup_s8_params *p, const int8_t *in, int8_t *out,
                              void *scratch) {
  const int8_t *table = p->table + 128;
  int32_t i = 0;
  (void)scratch;
  for (; i + 4 <= p->count; i += 4) {
    const int8_t a = table[in[i]];
    const int8_t b = table[in[i + 1]];
    const int8_t c = table[in[i + 2]];
    const int8_t d = table[in[i + 3]];
    out[i] = a;
    out[i + 1] = b;
    out[i + 2] = c;
    out[i + 3] = d;
  }
  for (; i < p->count; ++i) {
    out[i] = table[in[i]];
  }
  return TM_OK;
}
