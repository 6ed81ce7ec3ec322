/* Eight values, a byte of the mask, at a time, in pairs. Where these have factors of several
 * pixels, and at the end of a row, one by one. No scratch. */
#include "tm_gradient_gate.h"
#include "tm_mantissas.h"

static TM_NOINLINE void tm_gate_single(const tm_gradient_gate_s16_params *p, const int16_t *g,
                                       uint32_t mask, const int16_t *multiplier, int32_t c,
                                       int32_t count, int16_t *h) {
  for (int32_t k = 0; k < count; ++k) {
    const int32_t factor = multiplier[p->per_channel ? c : 0];
    h[k] = mask >> k & 1u ? tm_gradient_of(g[k] * factor, p->shift, p->limit) : 0;
    c = c + 1 == p->channels ? 0 : c + 1;
  }
}

/* Two values from k on; `by` are their factors. */
static TM_INLINE void tm_gate_pair(const tm_mantissas *how, const int16_t *g, uint32_t by,
                                   uint32_t mask, int32_t some, int32_t k, int16_t *h) {
  uint32_t pair = tm_mantissas_product(how, tm_mantissas_load(g + k), by);
  if (some) {
    pair &= tm_mantissas_mask(mask, k);
  }
  tm_mantissas_store(h + k, pair);
}

/* Eight values; a factor each, or one. */
static TM_INLINE void tm_gate_eight(const tm_mantissas *how, const int16_t *g,
                                    const int16_t *factors, int32_t each, uint32_t mask,
                                    int32_t some, int16_t *h) {
  const uint32_t single = each ? 0u : tm_pack16(factors[0], factors[0]);
  tm_gate_pair(how, g, each ? tm_mantissas_load(factors) : single, mask, some, 0, h);
  tm_gate_pair(how, g, each ? tm_mantissas_load(factors + 2) : single, mask, some, 2, h);
  tm_gate_pair(how, g, each ? tm_mantissas_load(factors + 4) : single, mask, some, 4, h);
  tm_gate_pair(how, g, each ? tm_mantissas_load(factors + 6) : single, mask, some, 6, h);
}

static tm_status tm_gradient_gate_pairs_s16(const tm_gradient_gate_s16_params *p, const int16_t *g,
                                            const uint8_t *bits, const int16_t *multiplier,
                                            int16_t *h, void *scratch) {
  const tm_mantissas how = tm_mantissas_of(p->shift, p->limit);
  const int32_t each = p->per_channel;
  const int32_t channels = p->channels;
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    int32_t c = 0;
    int32_t left = p->row;
    for (; left >= 8; left -= 8) {
      const uint32_t mask = bits == NULL ? 0xFFu : *bits++;
      if (mask == 0) {
        tm_mantissas_store(h, 0u);
        tm_mantissas_store(h + 2, 0u);
        tm_mantissas_store(h + 4, 0u);
        tm_mantissas_store(h + 6, 0u);
      } else if (!each) {
        tm_gate_eight(&how, g, multiplier, 0, mask, 1, h);
      } else if (c + 8 > channels) {
        tm_gate_single(p, g, mask, multiplier, c, 8, h);
      } else if (mask == 0xFFu) {
        tm_gate_eight(&how, g, multiplier + c, 1, mask, 0, h);
      } else {
        tm_gate_eight(&how, g, multiplier + c, 1, mask, 1, h);
      }
      g += 8;
      h += 8;
      c += 8;
      while (c >= channels) {
        c -= channels;
      }
    }
    if (left > 0) {
      tm_gate_single(p, g, bits == NULL ? 0xFFu : *bits++, multiplier, c, left, h);
      g += left;
      h += left;
    }
  }
  return TM_OK;
}
