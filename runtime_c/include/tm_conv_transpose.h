/* Transposed convolution over rows, weights OHWI:
 *
 * y[oy][ox][o] = clamp(rescale(bias[o] + sum of (x[iy][ix][g * group_in + i] - in_zero) *
 * w[o][ky][kx][i]) + out_zero) over all taps with oy = iy * stride_h - pad_top +
 * ky * dilation_h, likewise ox, that lie inside the map; g = o / group_out.
 *
 * Input and output do not overlap. */
#ifndef TM_CONV_TRANSPOSE_H
#define TM_CONV_TRANSPOSE_H

#include <stddef.h>

#include "tm_rows.h"
#include "tm_status.h"

#define TM_CONV_TRANSPOSE_GEOMETRY                                     \
  int32_t in_w, in_c;         /* columns and channels of the input */  \
  int32_t out_w, out_c;       /* columns and channels of the output */ \
  int32_t kernel_h, kernel_w; /* taps */                               \
  int32_t stride_h, stride_w;                                          \
  int32_t dilation_h, dilation_w;                                      \
  int32_t pad_top, pad_left;                                           \
  int32_t group_in, group_out; /* input and output channels of a group */

typedef struct {
  TM_CONV_TRANSPOSE_GEOMETRY
  int32_t in_zero, out_zero, lo, hi;
  const int32_t *multiplier; /* fixed-point rescaling of each output channel, or NULL */
  const int8_t *shift;
  const float *scale; /* float rescaling of each output channel, or NULL */
} tm_conv_transpose_s8_params;

typedef struct {
  TM_CONV_TRANSPOSE_GEOMETRY
  float lo, hi;
} tm_conv_transpose_f32_params;

/* The input place that reaches an output place at distance `reach` = place + pad - tap *
 * dilation; -1 where none does. */
static inline int32_t tm_conv_transpose_place(int32_t reach, int32_t stride, int32_t size) {
  if (reach < 0 || reach % stride != 0 || reach / stride >= size) {
    return -1;
  }
  return reach / stride;
}

#endif
