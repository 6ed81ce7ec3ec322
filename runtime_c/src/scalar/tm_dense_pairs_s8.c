/* Fully connected layer on cores without SIMD: two weights share a word (tm_pairs.h).
 *
 * Compiled once for each TM_FIELD, TM_BLOCK (outputs of a block: 4 or 2), TM_UP, TM_SIGNED
 * and TM_CLAMPED; weights are a layout "pairs_...", as in tm_conv2d_pairs_s8.c. No scratch. */
#include <stddef.h>

#include "tm_dense.h"
#include "tm_pairs.h"

static tm_status TM_INSTANCE(tm_dense_pairs_s8)(const tm_dense_s8_params *p, const int8_t *in,
                                                const int32_t *weights, const int32_t *bias,
                                                int8_t *out, void *scratch) {
  const int32_t words = p->depth * (TM_BLOCK / 2);
  const tm_pairs_rescaling how = {p->out_zero, p->lo, p->hi, p->multiplier, p->shift, p->scale};
  const tm_pairs_taps taps = {1, p->depth, 0};
  (void)bias;
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    const int16_t *exceptions = p->exceptions;
    const int32_t *record = weights;
    for (int32_t o = 0; o < p->outs; o += TM_BLOCK) {
      const int32_t exceptional = exceptions != NULL && *exceptions == o / TM_BLOCK;
      const uint32_t *block = (const uint32_t *)record;
      int32_t sums[4][2];
#if TM_FIELD > 16
      uint32_t split[4];
      tm_long_4x1(block, in, &taps, TM_FIELD, split);
      tm_long_split(split[0], split[1], TM_FIELD, &sums[0][0], &sums[1][0]);
      tm_long_split(split[2], split[3], TM_FIELD, &sums[2][0], &sums[3][0]);
#elif TM_BLOCK == 4
      tm_halves_4x1(block, in, &taps, sums);
#else
      tm_halves_2x1(block, in, &taps, sums);
#endif
      record += words;
      for (int32_t c = 0; c < TM_BLOCK; ++c, record += TM_PAIRS_RECORD(TM_SIGNED)) {
        if (o + c < p->outs) {
          out[o + c] = exceptional
                           ? tm_pairs_define(&how, sums[c][0], record, o + c)
                           : tm_pairs_scale(&how, sums[c][0], tm_pairs_load(record, TM_SIGNED),
                                            TM_UP, TM_SIGNED, TM_CLAMPED);
        }
      }
      if (exceptional) {
        ++exceptions;
      }
    }
    in += p->depth;
    out += p->outs;
  }
  return TM_OK;
}
