/* Unidirectional LSTM over sequences; gates in the order input, forget, cell, output:
 *   gate = W x + R h + b;  c = f c + i g;  h = o tanh(c)
 * Sequence n of step t lies at (n * sequence + t * step) times the elements of one input or
 * output. The output of a step is the hidden state after it. Nothing overlaps. */
#ifndef TM_LSTM_H
#define TM_LSTM_H

#include <stdint.h>
#include <string.h>

#include "tm_status.h"

#define TM_LSTM_GEOMETRY              \
  int32_t batch, steps, depth, units; \
  int32_t step, sequence;

/* Gates are int16: saturate(saturate(fixed(W x + bias)) + saturate(fixed(R h + offset))), zero
 * points folded into bias and offset. Factors are (multiplier, shift). */
typedef struct {
  TM_LSTM_GEOMETRY
  int32_t hidden_zero;
  int32_t clip; /* of the cell; 0: none */
  int32_t input_multiplier[4], input_shift[4];
  int32_t recurrent_multiplier[4], recurrent_shift[4];
  int32_t cell_factor[2];   /* forget gate times cell */
  int32_t gate_factor[2];   /* input gate times cell gate */
  int32_t hidden_factor[2]; /* output gate times tanh(cell) */
  int32_t tanh_factor[2];   /* the cell to 1 / (3 * 4096): multiplier, right shift */
  const int16_t *sigmoid;   /* sigmoid(i / 24) * 65536, unsigned, 256 of them */
} tm_lstm_s8_params;

typedef struct {
  TM_LSTM_GEOMETRY
  float clip; /* of the cell; 0: none */
} tm_lstm_f32_params;

#endif
