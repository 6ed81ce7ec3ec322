/* Convolution over rows: standard, grouped, depthwise.
 *
 * y[oy][ox][o] = clamp(rescale(bias[o] + sum over ky, kx, i of
 *                x[oy * stride_h - pad_top + ky * dilation_h]
 *                 [ox * stride_w - pad_left + kx * dilation_w][g * group_in + i]
 *                 * (w[o][ky][kx][i] - weights_zero[o])) + out_zero),  g = o / group_out.
 *
 * x outside the map is the map's pad row (the zero point of the tensor); bias has the input's
 * zero point folded in: bias - zx * sum (w - zw). Weights are in the layout that the kernel
 * table states; those that are no constants are plain, OHWI and on a multiple of 4 bytes, and so is
 * a bias that is none. Aliasing: as tm_part says.
 */
#ifndef TM_CONV2D_H
#define TM_CONV2D_H

#include "tm_rows.h"
#include "tm_status.h"

#define TM_CONV2D_GEOMETRY                                             \
  int32_t in_w, in_c;         /* columns and channels of the input */  \
  int32_t out_w, out_c;       /* columns and channels of the output */ \
  int32_t kernel_h, kernel_w; /* taps */                               \
  int32_t stride_h, stride_w;                                          \
  int32_t dilation_h, dilation_w;                                      \
  int32_t pad_top, pad_left;                                           \
  int32_t group_in, group_out; /* input and output channels of a group */

typedef struct {
  TM_CONV2D_GEOMETRY
  int32_t out_zero, lo, hi;  /* zero point and clamp of the output */
  const int32_t *multiplier; /* fixed-point rescaling of each output channel, or NULL */
  const int8_t *shift;
  const float *scale;         /* float rescaling of each output channel, or NULL */
  const int8_t *weights_zero; /* zero point of each output channel's weights, or NULL: 0 */
  const int16_t *exceptions;  /* blocks of channels that a kernel with rescaling records rescales
                                 by the fields above, ascending, then INT16_MAX; or NULL: none */
#ifdef TM_VARIABLE_WEIGHTS    /* in models that have such */
  const int32_t *bias_limit;  /* where weights or bias are no constants: for how much each
                                 channel's bias counts at most (tm_bias); else NULL */
  const int32_t *bias_terms;  /* the same for a kernel with rescaling records: {limit, places by
                                 which the bias is shifted, what is added to it} */
  const int32_t *records;     /* rescaling records beside weights that are no constants; or NULL */
#endif
  int32_t plane_lines; /* output lines at a time, of a kernel that goes through planes */
} tm_conv2d_s8_params;

/* What makes row `row` of a kernel's input while that one runs, some channels at a time. */
typedef struct {
  void (*make)(const void *context, int32_t row, int32_t channel0, int32_t channel1);
  const void *context;
  int32_t row;
} tm_conv2d_feed;

typedef struct {
  TM_CONV2D_GEOMETRY
  float lo, hi; /* clamp */
} tm_conv2d_f32_params;

#endif
