/* Logarithm of the softmax of floats. No scratch. */
#include <math.h>

#include "tm_softmax.h"

static tm_status tm_log_softmax_f32(const tm_softmax_f32_params *p, const float *in, float *out,
                                    void *scratch) {
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    float most = in[0];
    float sum = 0.0f;
    for (int32_t i = 1; i < p->depth; ++i) {
      most = in[i] > most ? in[i] : most;
    }
    for (int32_t i = 0; i < p->depth; ++i) {
      sum += expf(in[i] - most);
    }
    sum = logf(sum);
    for (int32_t i = 0; i < p->depth; ++i) {
      out[i] = in[i] - most - sum;
    }
    in += p->depth;
    out += p->depth;
  }
  return TM_OK;
}
