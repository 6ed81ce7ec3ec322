/* Plain GRU of floats. */
#include "tm_recurrent.h"

static tm_status tm_gru_layer_f32(const tm_gru_layer_f32_params *p, const float *x, const float *w,
                                  const float *r, const float *bias, const float *first_h, float *y,
                                  float *last_h, void *scratch) {
  const int32_t size = p->hidden;
  const int32_t gates = 3 * size;
  float *h = (float *)scratch;
  float *g = h + size;         /* z, r, and the input's part of h' */
  float *inner = g + 3 * size; /* the last state's part of h' */
  for (int32_t d = 0; d < p->directions; ++d) {
    const float *back = bias == NULL ? NULL : bias + gates;
    for (int32_t n = 0; n < p->batch; ++n) {
      const int32_t place = (d * p->batch + n) * size;
      tm_state(h, first_h, place, size);
      for (int32_t s = 0; s < p->steps; ++s) {
        const int32_t t = p->backward[d] ? p->steps - 1 - s : s;
        tm_begin(g, bias, gates);
        tm_accumulate(g, w, x + (t * p->batch + n) * p->inputs, gates, p->inputs);
        tm_accumulate(g, r, h, 2 * size, size);
        for (int32_t i = 0; i < 2 * size; ++i) {
          g[i] = tm_gate(back == NULL ? g[i] : g[i] + back[i]);
        }
        tm_begin(inner, back == NULL ? NULL : back + 2 * size, size);
        if (p->reset_after) {
          tm_accumulate(inner, r + 2 * size * size, h, size, size);
          for (int32_t i = 0; i < size; ++i) {
            inner[i] *= g[size + i];
          }
        } else {
          for (int32_t i = 0; i < size; ++i) {
            g[size + i] *= h[i];
          }
          tm_accumulate(inner, r + 2 * size * size, g + size, size, size);
        }
        for (int32_t i = 0; i < size; ++i) {
          h[i] = (1.0f - g[i]) * tanhf(g[2 * size + i] + inner[i]) + g[i] * h[i];
        }
        tm_keep(y, (t * p->directions + d) * p->batch * size + n * size, h, size);
      }
      tm_keep(last_h, place, h, size);
    }
    w += gates * p->inputs;
    r += gates * size;
    bias = bias == NULL ? NULL : bias + 2 * gates;
  }
  return TM_OK;
}
