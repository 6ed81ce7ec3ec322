/* Plain recurrent layer of floats. */
#include "tm_recurrent.h"

static tm_status tm_rnn_layer_f32(const tm_rnn_layer_f32_params *p, const float *x, const float *w,
                                  const float *r, const float *bias, const float *first_h, float *y,
                                  float *last_h, void *scratch) {
  const int32_t size = p->hidden;
  float *h = (float *)scratch;
  float *g = h + size;
  for (int32_t d = 0; d < p->directions; ++d) {
    for (int32_t n = 0; n < p->batch; ++n) {
      const int32_t place = (d * p->batch + n) * size;
      tm_state(h, first_h, place, size);
      for (int32_t s = 0; s < p->steps; ++s) {
        const int32_t t = p->backward[d] ? p->steps - 1 - s : s;
        tm_begin(g, bias, size);
        tm_accumulate(g, w, x + (t * p->batch + n) * p->inputs, size, p->inputs);
        tm_accumulate(g, r, h, size, size);
        for (int32_t i = 0; i < size; ++i) {
          const float sum = bias == NULL ? g[i] : g[i] + bias[size + i];
          h[i] = p->relu ? (sum > 0.0f ? sum : 0.0f) : tanhf(sum);
        }
        tm_keep(y, (t * p->directions + d) * p->batch * size + n * size, h, size);
      }
      tm_keep(last_h, place, h, size);
    }
    w += size * p->inputs;
    r += size * size;
    bias = bias == NULL ? NULL : bias + 2 * size;
  }
  return TM_OK;
}
