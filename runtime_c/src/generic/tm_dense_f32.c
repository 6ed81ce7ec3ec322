/* Plain fully connected layer of floats, weights OI. No scratch. */
#include "tm_dense.h"

static tm_status tm_dense_f32(const tm_dense_f32_params *p, const float *in, const float *weights,
                              const float *bias, float *out, void *scratch) {
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    const float *w = weights;
    for (int32_t o = 0; o < p->outs; ++o) {
      float acc = 0.0f;
      for (int32_t i = 0; i < p->depth; ++i) {
        acc += in[i] * w[i];
      }
      w += p->depth;
      acc += bias[o];
      out[o] = acc < p->lo ? p->lo : (acc > p->hi ? p->hi : acc);
    }
    in += p->depth;
    out += p->outs;
  }
  return TM_OK;
}
