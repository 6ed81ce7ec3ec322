/* Depthwise convolution (one input and one output channel a group), weights HWO with zero point
 * 0. Four channels at a time, so that rows and columns are looked up once for four products.
 * No scratch. */
#include <stddef.h>

#include "tm_conv2d.h"
#include "tm_rescale.h"

/* Accumulators of `count` (1 or 4) channels from c of the output pixel at oy, ox. */
static inline void tm_dwconv2d_sum_s8(const tm_conv2d_s8_params *p, const tm_rows *in,
                                      const int8_t *w, int32_t oy, int32_t ox, int32_t c,
                                      int32_t count, int32_t *acc) {
  const int32_t channels = p->in_c;
  const int32_t x0 = ox * p->stride_w - p->pad_left;
  for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
    const int32_t iy = oy * p->stride_h - p->pad_top + ky * p->dilation_h;
    const int8_t *row = (const int8_t *)tm_row(in, iy);
    for (int32_t kx = 0; kx < p->kernel_w; ++kx) {
      const int32_t ix = x0 + kx * p->dilation_w;
      const int8_t *x = ix < 0 || ix >= p->in_w ? (const int8_t *)in->pad : row + ix * channels;
      x += c;
      if (count == 4) {
        acc[0] += x[0] * w[0];
        acc[1] += x[1] * w[1];
        acc[2] += x[2] * w[2];
        acc[3] += x[3] * w[3];
      } else {
        acc[0] += x[0] * w[0];
      }
      w += channels;
    }
  }
}

static tm_status tm_dwconv2d_s8(const tm_conv2d_s8_params *p, const tm_rows *in,
                                const int8_t *weights, const int32_t *bias, const tm_rows *out,
                                const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      int32_t c = part->channel0;
      while (c < part->channel1) {
        const int32_t count = c + 4 <= part->channel1 ? 4 : 1;
        int32_t acc[4];
        for (int32_t i = 0; i < count; ++i) {
          acc[i] = tm_bias(bias, TM_BIAS_LIMIT(p), c + i);
        }
        if (count == 4) {
          tm_dwconv2d_sum_s8(p, in, weights + c, oy, ox, c, 4, acc);
        } else {
          tm_dwconv2d_sum_s8(p, in, weights + c, oy, ox, c, 1, acc);
        }
        for (int32_t i = 0; i < count; ++i, ++c) {
          const int32_t q = tm_rescale(acc[i], p->multiplier, p->shift, p->scale, c);
          y[ox * p->out_c + c] = (int8_t)tm_clamp(q + p->out_zero, p->lo, p->hi);
        }
      }
    }
  }
  return TM_OK;
}
