/* Recurrent layers of floats by the ONNX definition. For each direction d, sequence n and step t
 * (backwards where `backward` says so): the input x[t][n] and the last hidden state h give the
 * next state. Weights of direction d: w [gates * hidden, inputs], r [gates * hidden, hidden],
 * bias [2 * gates * hidden] (first those of w, then those of r) or NULL: 0.
 *
 * first_h, first_c [directions, batch, hidden] are the states to start from, or NULL: 0.
 * y [steps, directions, batch, hidden], last_h and last_c [directions, batch, hidden] may each
 * be NULL. Inputs and outputs do not overlap. */
#ifndef TM_RECURRENT_H
#define TM_RECURRENT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tm_status.h"

#define TM_RECURRENT_GEOMETRY                       \
  int32_t steps, batch, directions, inputs, hidden; \
  int32_t backward[2]; /* of each direction */

/* gates i, o, f, c: c = s(f) * c + s(i) * tanh(c'); h = s(o) * tanh(c). peephole
 * [directions, 3 * hidden] (i, o, f) or NULL. Scratch: 6 * hidden floats. */
typedef struct {
  TM_RECURRENT_GEOMETRY
} tm_lstm_layer_f32_params;

/* gates z, r, h: h = (1 - s(z)) * tanh(h') + s(z) * h; `reset_after` applies s(r) to the
 * product with r's weights instead of to h. Scratch: 5 * hidden floats. */
typedef struct {
  TM_RECURRENT_GEOMETRY
  int32_t reset_after;
} tm_gru_layer_f32_params;

/* h = f(w x + r h + bias), f tanh or max(0, ..). Scratch: 2 * hidden floats. */
typedef struct {
  TM_RECURRENT_GEOMETRY
  int32_t relu;
} tm_rnn_layer_f32_params;

static inline float tm_gate(float x) {
  return 1.0f / (1.0f + expf(-x));
}

/* y[i] += sum over k of m[i][k] * x[k] */
static inline void tm_accumulate(float *y, const float *m, const float *x, int32_t rows,
                                 int32_t depth) {
  for (int32_t i = 0; i < rows; ++i) {
    float acc = 0.0f;
    for (int32_t k = 0; k < depth; ++k) {
      acc += m[k] * x[k];
    }
    y[i] += acc;
    m += depth;
  }
}

/* y = bias, or 0 where there is none */
static inline void tm_begin(float *y, const float *bias, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    y[i] = bias == NULL ? 0.0f : bias[i];
  }
}

static inline void tm_state(float *y, const float *first, int32_t at, int32_t hidden) {
  for (int32_t i = 0; i < hidden; ++i) {
    y[i] = first == NULL ? 0.0f : first[at + i];
  }
}

static inline void tm_keep(float *to, int32_t at, const float *from, int32_t hidden) {
  if (to != NULL) {
    memcpy(to + at, from, (size_t)hidden * sizeof *from);
  }
}

#endif
