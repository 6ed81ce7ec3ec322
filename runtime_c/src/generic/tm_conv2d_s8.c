/* Plain convolution, any shape, weights OHWI; weights and bias may be variables. No scratch. */
#include <stddef.h>

#include "tm_conv2d.h"
#include "tm_dot.h"
#include "tm_rescale.h"

/* The taps of one kernel row: those outside the map read the pad row, those inside lie side by
 * side where the convolution is neither dilated nor grouped. */
static inline int32_t tm_conv2d_row_s8(const tm_conv2d_s8_params *p, int32_t acc, const int8_t *row,
                                       const int8_t *pad, const int8_t *w, int32_t x0,
                                       int32_t offset, int32_t zero) {
  int32_t kx = 0;
  while (kx < p->kernel_w) {
    const int32_t ix = x0 + kx * p->dilation_w;
    int32_t taps = 1;
    if (ix < 0 || ix >= p->in_w) {
      acc = tm_dot_s8(acc, pad + offset, w, p->group_in, zero);
    } else {
      if (p->dilation_w == 1 && p->group_in == p->in_c) {
        const int32_t inside = p->in_w - ix;
        taps = p->kernel_w - kx < inside ? p->kernel_w - kx : inside;
      }
      acc = tm_dot_s8(acc, row + ix * p->in_c + offset, w, taps * p->group_in, zero);
    }
    w += taps * p->group_in;
    kx += taps;
  }
  return acc;
}

static tm_status tm_conv2d_s8(const tm_conv2d_s8_params *p, const tm_rows *in,
                              const int8_t *weights, const int32_t *bias, const tm_rows *out,
                              const tm_part *part, void *scratch) {
  const int32_t filter_row = p->kernel_w * p->group_in;
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const int32_t x0 = ox * p->stride_w - p->pad_left;
      for (int32_t o = part->channel0; o < part->channel1; ++o) {
        const int32_t offset = (o / p->group_out) * p->group_in;
        const int32_t zero = p->weights_zero == NULL ? 0 : p->weights_zero[o];
        const int8_t *w = weights + o * p->kernel_h * filter_row;
        int32_t acc = tm_bias(bias, TM_BIAS_LIMIT(p), o);
        for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
          const int32_t iy = oy * p->stride_h - p->pad_top + ky * p->dilation_h;
          const int8_t *row = (const int8_t *)tm_row(in, iy);
          acc = tm_conv2d_row_s8(p, acc, row, (const int8_t *)in->pad, w, x0, offset, zero);
          w += filter_row;
        }
        acc = tm_rescale(acc, p->multiplier, p->shift, p->scale, o) + p->out_zero;
        y[ox * p->out_c + o] = (int8_t)tm_clamp(acc, p->lo, p->hi);
      }
    }
  }
  return TM_OK;
}
