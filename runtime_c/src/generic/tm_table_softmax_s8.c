/* Softmax of int8 with exponentials from a table, the ONNX definition. No scratch. */
#include "tm_rescale.h"
#include "tm_softmax.h"

static tm_status tm_table_softmax_s8(const tm_table_softmax_s8_params *p, const int8_t *in,
                                     int8_t *out, void *scratch) {
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    int32_t most = in[0];
    float sum = 0.0f;
    for (int32_t i = 1; i < p->depth; ++i) {
      most = in[i] > most ? in[i] : most;
    }
    for (int32_t i = 0; i < p->depth; ++i) {
      sum += p->exponential[most - in[i]];
    }
    for (int32_t i = 0; i < p->depth; ++i) {
      const float y = p->exponential[most - in[i]] / sum / p->out_scale;
      out[i] = (int8_t)tm_clamp(tm_round_even(y) + p->out_zero, INT8_MIN, INT8_MAX);
    }
    in += p->depth;
    out += p->depth;
  }
  return TM_OK;
}
