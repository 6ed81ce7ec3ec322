/* LSTM of int8 with an int16 cell. No scratch. */
#include "tm_lstm.h"
#include "tm_rescale.h"

static inline int32_t tm_lstm_clamp(int32_t x) {
  return tm_clamp(x, INT16_MIN, INT16_MAX);
}

static inline int32_t tm_lstm_dot(int32_t acc, const int8_t *x, const int8_t *w, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    acc += x[i] * w[i];
  }
  return acc;
}

/* The table between place and place + 1, in 1 / (65536 << bits). */
static inline int32_t tm_lstm_between(const int16_t *table, int32_t size, int32_t bits) {
  const int32_t place = size >> bits;
  const int32_t a = (uint16_t)table[place];
  const int32_t b = (uint16_t)table[place + 1];
  return a * (1 << bits) + (size & ((1 << bits) - 1)) * (b - a);
}

static inline int32_t tm_lstm_sigmoid(const int16_t *table, int32_t x) {
  const int32_t scaled = x * 3;
  const int32_t size = scaled < 0 ? -scaled : scaled;
  const int32_t y = (size >> 9) >= 255 ? 0x7FFF * (1 << 10) : tm_lstm_between(table, size, 9);
  return (scaled >= 0 ? y + (1 << 9) : (1 << 25) - y + (1 << 9) - 1) >> 10;
}

static inline int32_t tm_lstm_tanh(const int16_t *table, int32_t x, int32_t multiplier,
                                   int32_t shift) {
  const int32_t scaled = (x * multiplier + ((1 << shift) >> 1)) >> shift;
  const int32_t size = scaled < 0 ? -scaled : scaled;
  const int32_t y = (size >> 8) >= 255 ? 0xFFFF * (1 << 8) : tm_lstm_between(table, size, 8);
  return (scaled >= 0 ? y - (1 << 23) + 128 : -y + (1 << 23) + 127) >> 8;
}

static tm_status tm_lstm_s8(const tm_lstm_s8_params *p, const int8_t *in, const int8_t *weights,
                            const int8_t *recurrent, const int32_t *bias,
                            const int32_t *recurrent_bias, int8_t *hidden, int16_t *cell,
                            int8_t *out, void *scratch) {
  (void)scratch;
  for (int32_t n = 0; n < p->batch; ++n) {
    for (int32_t t = 0; t < p->steps; ++t) {
      const int32_t place = n * p->sequence + t * p->step;
      const int8_t *x = in + place * p->depth;
      int8_t *y = out + place * p->units;
      for (int32_t u = 0; u < p->units; ++u) {
        int32_t gate[4];
        int32_t kept;
        int32_t fresh;
        for (int32_t k = 0; k < 4; ++k) {
          const int32_t row = k * p->units + u;
          const int32_t a = tm_lstm_dot(bias[row], x, weights + row * p->depth, p->depth);
          const int32_t b =
              tm_lstm_dot(recurrent_bias[row], hidden, recurrent + row * p->units, p->units);
          gate[k] = tm_lstm_clamp(
              tm_lstm_clamp(tm_scale_fixed(a, p->input_multiplier[k], p->input_shift[k])) +
              tm_lstm_clamp(tm_scale_fixed(b, p->recurrent_multiplier[k], p->recurrent_shift[k])));
        }
        gate[0] = tm_lstm_sigmoid(p->sigmoid, gate[0]);
        gate[1] = tm_lstm_sigmoid(p->sigmoid, gate[1]);
        gate[2] = tm_lstm_tanh(p->sigmoid, gate[2], 3, 0);
        gate[3] = tm_lstm_sigmoid(p->sigmoid, gate[3]);
        kept = tm_scale_fixed(gate[1] * cell[u], p->cell_factor[0], p->cell_factor[1]);
        fresh = tm_scale_fixed(gate[0] * gate[2], p->gate_factor[0], p->gate_factor[1]);
        kept = tm_lstm_clamp(tm_lstm_clamp(kept) + tm_lstm_clamp(fresh));
        if (p->clip > 0) {
          kept = tm_clamp(kept, -p->clip, p->clip);
        }
        cell[u] = (int16_t)kept;
        kept = gate[3] * tm_lstm_tanh(p->sigmoid, kept, p->tanh_factor[0], p->tanh_factor[1]);
        kept = tm_scale_fixed(kept, p->hidden_factor[0], p->hidden_factor[1]) + p->hidden_zero;
        y[u] = (int8_t)tm_clamp(kept, INT8_MIN, INT8_MAX);
      }
      memcpy(hidden, y, (size_t)p->units);
    }
    hidden += p->units;
    cell += p->units;
  }
  return TM_OK;
}
