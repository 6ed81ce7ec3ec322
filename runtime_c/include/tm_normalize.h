/* Normalisation of floats. Maps are [batch, places, channels]; input and output do not overlap
 * except where stated. */
#ifndef TM_NORMALIZE_H
#define TM_NORMALIZE_H

#include <math.h>
#include <stdint.h>

#include "tm_status.h"

/* y[i][c] = x[i][c] * scale[c] + shift[c]; the output may be the input */
typedef struct {
  int32_t rows, channels;
} tm_batch_norm_f32_params;

/* y = (x - mean) / sqrt(variance + epsilon) * scale[c] + shift[c], mean and variance over all
 * places and the channels of a group */
typedef struct {
  int32_t batch, places, channels, groups;
  float epsilon;
} tm_group_norm_f32_params;

/* y[r][i] = (x[r][i] - mean) / sqrt(variance + epsilon) * scale[i] + shift[i], mean and variance
 * of row r; without `centre` the mean counts as 0. shift may be NULL: 0 */
typedef struct {
  int32_t rows, depth;
  float epsilon;
  int32_t centre;
} tm_layer_norm_f32_params;

/* y = x / |x| of each row: the sum of magnitudes (order 1) or the root of the sum of squares
 * (order 2), at least `least`; a row of norm 0 stays 0 */
typedef struct {
  int32_t rows, depth, order;
  float least;
} tm_lp_norm_f32_params;

/* y[i][c] = x[i][c] / (bias + alpha * sum x[i][k]^2)^beta, k from c - before to c + after */
typedef struct {
  int32_t rows, channels, before, after;
  float alpha, beta, bias;
} tm_lrn_f32_params;

#endif
