/* The gradient of a convolution by its input:
 *
 * g[y][x][i] = saturate(round(2^-shift * sum of h[oy][ox][o] * w[o][ky][kx][i % group_in])) over
 * all taps with oy * stride_h - pad_top + ky * dilation_h = y, likewise ox and x, inside the map of
 * h, and over the outputs o of the group of i. Saturated to [-limit, limit], rounded half up. No
 * sum leaves 32 bits.
 *
 * All names are those of the convolution: out is h, which this kernel reads, in is g, which it
 * writes. Weights are int8, OHWI, constants or a variable. No overlap of input and output.
 *
 * operands: rows h, const int8_t *weights, rows g
 * facts: groups; variable: whether the weights are one; reach: |h| <= reach */
#ifndef TM_CONV_INPUT_GRADIENT_H
#define TM_CONV_INPUT_GRADIENT_H

#include <stddef.h>

#include "tm_gradient.h"
#include "tm_rows.h"
#include "tm_status.h"

typedef struct {
  int32_t in_h, in_w, in_c;    /* the map g */
  int32_t out_h, out_w, out_c; /* the map h */
  int32_t kernel_h, kernel_w;
  int32_t stride_h, stride_w;
  int32_t dilation_h, dilation_w;
  int32_t pad_top, pad_left;
  int32_t group_in, group_out; /* input and output channels of a group */
  int32_t shift;               /* in [0, 31] */
  int32_t limit;               /* 1 to 32767 */
} tm_conv_input_gradient_s16_params;

/* The output place from which tap `tap` reaches an input place at distance `reach` = place + pad -
 * tap * dilation; -1 where there is none. */
static inline int32_t tm_gradient_place(int32_t reach, int32_t stride, int32_t size) {
  if (reach < 0 || reach % stride != 0 || reach / stride >= size) {
    return -1;
  }
  return reach / stride;
}

#endif
