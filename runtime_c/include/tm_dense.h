/* Fully connected layers: y[r][o] = clamp(rescale(bias[o] + sum over i of x[r][i] *
 * (w[o][i] - weights_zero[o])) + out_zero). bias has the input's zero point folded in.
 * Weights and bias that are no constants are plain arrays on multiples of 4 bytes. Input and output
 * do not overlap. */
#ifndef TM_DENSE_H
#define TM_DENSE_H

#include <stdint.h>

#include "tm_status.h"

typedef struct {
  int32_t rows, depth, outs;
  int32_t out_zero, lo, hi;
  const int32_t *multiplier; /* fixed-point rescaling of each output, or NULL */
  const int8_t *shift;
  const float *scale;         /* float rescaling of each output, or NULL */
  const int8_t *weights_zero; /* zero point of each output's weights, or NULL: 0 */
  const int16_t *exceptions;  /* blocks of outputs, as in tm_conv2d_s8_params, or NULL */
#ifdef TM_VARIABLE_WEIGHTS
  const int32_t *bias_limit; /* as in tm_conv2d_s8_params */
  const int32_t *bias_terms;
  const int32_t *records;
#endif
} tm_dense_s8_params;

typedef struct {
  int32_t rows, depth, outs;
  float lo, hi;
} tm_dense_f32_params;

#endif
