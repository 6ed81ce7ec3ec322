/* Two values at a time. No scratch. */
#include "tm_gradient_add.h"
#include "tm_mantissas.h"

static TM_INLINE void tm_add_pair(const tm_mantissas *how, const int16_t *a, const int16_t *b,
                                  uint32_t factors, int16_t *y) {
  const uint32_t first = tm_mantissas_load(a);
  const uint32_t second = tm_mantissas_load(b);
  const uint32_t low = (first & 0xFFFFu) | second << 16;
  const uint32_t high = first >> 16 | (second & 0xFFFF0000u);
  tm_mantissas_store(y, tm_mantissas_pair(how, (int32_t)tm_smlad(low, factors, 0u),
                                          (int32_t)tm_smlad(high, factors, 0u)));
}

static tm_status tm_gradient_add_pairs_s16(const tm_gradient_add_s16_params *p, const int16_t *a,
                                           const int16_t *b, int16_t *y, void *scratch) {
  const tm_mantissas how = tm_mantissas_of(p->shift, p->limit);
  const uint32_t factors = tm_pack16(p->first_factor, p->second_factor);
  int32_t k = 0;
  (void)scratch;
  for (; k + 4 <= p->count; k += 4) {
    tm_add_pair(&how, a + k, b + k, factors, y + k);
    tm_add_pair(&how, a + k + 2, b + k + 2, factors, y + k + 2);
  }
  for (; k < p->count; ++k) {
    y[k] = tm_gradient_of(a[k] * p->first_factor + b[k] * p->second_factor, p->shift, p->limit);
  }
  return TM_OK;
}
