/* Plain LSTM of floats. */
#include "tm_recurrent.h"

static tm_status tm_lstm_layer_f32(const tm_lstm_layer_f32_params *p, const float *x,
                                   const float *w, const float *r, const float *bias,
                                   const float *first_h, const float *first_c,
                                   const float *peephole, float *y, float *last_h, float *last_c,
                                   void *scratch) {
  const int32_t size = p->hidden;
  const int32_t gates = 4 * size;
  float *h = (float *)scratch;
  float *c = h + size;
  float *g = c + size;
  for (int32_t d = 0; d < p->directions; ++d) {
    for (int32_t n = 0; n < p->batch; ++n) {
      const int32_t place = (d * p->batch + n) * size;
      tm_state(h, first_h, place, size);
      tm_state(c, first_c, place, size);
      for (int32_t s = 0; s < p->steps; ++s) {
        const int32_t t = p->backward[d] ? p->steps - 1 - s : s;
        tm_begin(g, bias, gates);
        tm_accumulate(g, w, x + (t * p->batch + n) * p->inputs, gates, p->inputs);
        tm_accumulate(g, r, h, gates, size);
        for (int32_t i = 0; i < size; ++i) {
          float in = g[i];
          float out = g[size + i];
          float forget = g[2 * size + i];
          if (bias != NULL) {
            in += bias[gates + i];
            out += bias[gates + size + i];
            forget += bias[gates + 2 * size + i];
            g[3 * size + i] += bias[gates + 3 * size + i];
          }
          if (peephole != NULL) {
            in += peephole[i] * c[i];
            forget += peephole[2 * size + i] * c[i];
          }
          c[i] = tm_gate(forget) * c[i] + tm_gate(in) * tanhf(g[3 * size + i]);
          if (peephole != NULL) {
            out += peephole[size + i] * c[i];
          }
          h[i] = tm_gate(out) * tanhf(c[i]);
        }
        tm_keep(y, (t * p->directions + d) * p->batch * size + n * size, h, size);
      }
      tm_keep(last_h, place, h, size);
      tm_keep(last_c, place, c, size);
    }
    w += gates * p->inputs;
    r += gates * size;
    bias = bias == NULL ? NULL : bias + 2 * gates;
    peephole = peephole == NULL ? NULL : peephole + 3 * size;
  }
  return TM_OK;
}
