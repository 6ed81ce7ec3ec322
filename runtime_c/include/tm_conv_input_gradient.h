/* The gradient of a convolution by its input:
 *
 * g[y][x][i] = saturate(round(2^-shift * sum of h[oy][ox][o] * w[o][ky][kx][i % group_out])) over
 * all taps with oy * stride_h - pad_top + ky * dilation_h = y, likewise ox and x, inside the map of
 * h, and over the outputs o of the group of i. Saturated to [-limit, limit], rounded half up. No
 * sum leaves 32 bits.
 *
 * In and out are those of this kernel: in is h, out is g. group_in are the convolution's outputs of
 * a group, group_out its inputs. Weights are int8, in the convolution's own order OHWI (they may be
 * variables). No overlap of input and output. */
#ifndef TM_CONV_INPUT_GRADIENT_H
#define TM_CONV_INPUT_GRADIENT_H

#include "tm_conv_transpose.h"
#include "tm_gradient.h"

typedef struct {
  TM_CONV_TRANSPOSE_GEOMETRY
  int32_t shift; /* in [-15, 32] */
  int32_t limit; /* at most 32767 */
} tm_conv_input_gradient_s16_params;

/* operands: rows h, const int8_t *weights, rows g
 * facts: in_h, out_h */

#endif
