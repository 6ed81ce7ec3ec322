/* One step of a convolution's weights, and of its bias, into which the input's zero point is
 * folded. For each output channel o, kernel place and chosen input channel i of its group:
 *
 *   dw = sum of h[oy][ox][o] * (x[oy * stride_h - pad_top + ky * dilation_h]
 *                                [ox * stride_w - pad_left + kx * dilation_w][i] - in_zero)
 *        over all images and the places inside the map of x; it fits 32 bits
 *   t  = w - dw * f[o],  f[o] = tm_update_factor             (each in float32)
 *   w' = within int8 the integer nearest to t, half to even; if stochastic the one next to or
 *        below t + u, u in [0, 1) of tm_update.h, its index the weight's in OHWI; w if t is no
 *        number
 *   bias[o] -= in_zero * (w' - w), within int32
 *
 * Weights OHWI. They are computed one output channel, or a few, at a time: the gradient of the
 * weights is never held whole.
 *
 * operands: const int8_t *x, const int16_t *h, const int32_t *exponent, const float *rate,
 * const int32_t *counter (its bits are a uint32_t), const float *coefficient (one an output
 * channel), int8_t *weights, int32_t *bias
 * facts: groups; reach: |h| <= reach; run: whether `chosen` is NULL */
#ifndef TM_CONV_WEIGHT_UPDATE_H
#define TM_CONV_WEIGHT_UPDATE_H

#include <stddef.h>

#include "tm_status.h"
#include "tm_update.h"

typedef struct {
  int32_t batch;
  int32_t in_h, in_w, in_c;    /* the map x */
  int32_t out_h, out_w, out_c; /* the map h */
  int32_t kernel_h, kernel_w;
  int32_t stride_h, stride_w;
  int32_t dilation_h, dilation_w;
  int32_t pad_top, pad_left;
  int32_t group_in, group_out; /* input and output channels of a group */
  int32_t in_zero;             /* zero point of x */
  int32_t channel0, channel1;  /* input channels of a group that are trained: from, up to */
  const int16_t *chosen;       /* those of them that are, ascending; or NULL: all */
  int32_t chosen_count;        /* how many are trained */
  int32_t layer;               /* of the random numbers; any bits */
  int32_t stochastic;
} tm_conv_weight_update_s8_params;

#endif
