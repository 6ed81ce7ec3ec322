/* Softmax along the last axis of a matrix [rows, depth]. The output may be the input (of the
 * same element size). */
#ifndef TM_SOFTMAX_H
#define TM_SOFTMAX_H

#include <stdint.h>

#include "tm_status.h"

typedef struct {
  int32_t rows, depth;
  const int32_t *exponential; /* exp(-d * scale * beta) in Q0.31 for d = 0 .. 255; 0: none */
} tm_softmax_s8_params;

typedef tm_softmax_s8_params tm_softmax_s8_s8_params;
typedef tm_softmax_s8_params tm_softmax_s8_s16_params;

typedef struct {
  int32_t rows, depth;
  float beta;
} tm_softmax_f32_params;

typedef tm_softmax_f32_params tm_log_softmax_f32_params; /* beta is not read */

/* y = clamp(rint(e[i] / sum of e / out_scale) + out_zero), e = exponential[max x - x] */
typedef struct {
  int32_t rows, depth;
  float out_scale;
  int32_t out_zero;
  const float *exponential; /* exp(-d * scale * beta) for d = 0 .. 255 */
} tm_table_softmax_s8_params;

#endif
