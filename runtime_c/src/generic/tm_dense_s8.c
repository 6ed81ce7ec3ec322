/* Plain fully connected layer, weights OI; weights and bias may be variables. No scratch. */
#include <stddef.h>

#include "tm_dense.h"
#include "tm_dot.h"
#include "tm_rescale.h"

static tm_status tm_dense_s8(const tm_dense_s8_params *p, const int8_t *in, const int8_t *weights,
                             const int32_t *bias, int8_t *out, void *scratch) {
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    const int8_t *w = weights;
    for (int32_t o = 0; o < p->outs; ++o) {
      const int32_t zero = p->weights_zero == NULL ? 0 : p->weights_zero[o];
      int32_t acc = tm_dot_s8(tm_bias(bias, TM_BIAS_LIMIT(p), o), in, w, p->depth, zero);
      w += p->depth;
      acc = tm_rescale(acc, p->multiplier, p->shift, p->scale, o) + p->out_zero;
      out[o] = (int8_t)tm_clamp(acc, p->lo, p->hi);
    }
    in += p->depth;
    out += p->outs;
  }
  return TM_OK;
}
