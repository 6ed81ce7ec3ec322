/* LSTM of floats. No scratch. */
#include <math.h>

#include "tm_lstm.h"

static inline float tm_lstm_dot_f32(float acc, const float *x, const float *w, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    acc += x[i] * w[i];
  }
  return acc;
}

static inline float tm_lstm_sigmoid_f32(float x) {
  return 1.0f / (1.0f + expf(-x));
}

static tm_status tm_lstm_f32(const tm_lstm_f32_params *p, const float *in, const float *weights,
                             const float *recurrent, const float *bias, float *hidden, float *cell,
                             float *out, void *scratch) {
  (void)scratch;
  for (int32_t n = 0; n < p->batch; ++n) {
    for (int32_t t = 0; t < p->steps; ++t) {
      const int32_t place = n * p->sequence + t * p->step;
      const float *x = in + place * p->depth;
      float *y = out + place * p->units;
      for (int32_t u = 0; u < p->units; ++u) {
        float gate[4];
        float c;
        for (int32_t k = 0; k < 4; ++k) {
          const int32_t row = k * p->units + u;
          gate[k] = tm_lstm_dot_f32(bias[row], x, weights + row * p->depth, p->depth);
          gate[k] = tm_lstm_dot_f32(gate[k], hidden, recurrent + row * p->units, p->units);
        }
        c = tm_lstm_sigmoid_f32(gate[1]) * cell[u] + tm_lstm_sigmoid_f32(gate[0]) * tanhf(gate[2]);
        if (p->clip > 0.0f) {
          c = c > p->clip ? p->clip : (c < -p->clip ? -p->clip : c);
        }
        cell[u] = c;
        y[u] = tm_lstm_sigmoid_f32(gate[3]) * tanhf(c);
      }
      memcpy(hidden, y, (size_t)p->units * sizeof(float));
    }
    hidden += p->units;
    cell += p->units;
  }
  return TM_OK;
}
