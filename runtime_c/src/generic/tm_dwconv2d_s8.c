/* Depthwise convolution (one input and one output channel a group), weights HWO. No scratch. */
#include "tm_conv2d.h"
#include "tm_rescale.h"

static tm_status tm_dwconv2d_s8(const tm_conv2d_s8_params *p, const tm_rows *in,
                                const int8_t *weights, const int32_t *bias, const tm_rows *out,
                                const tm_part *part, void *scratch) {
  const int32_t channels = p->in_c;
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const int32_t x0 = ox * p->stride_w - p->pad_left;
      for (int32_t c = part->channel0; c < part->channel1; ++c) {
        const int32_t zero = p->weights_zero == NULL ? 0 : p->weights_zero[c];
        const int8_t *w = weights + c;
        int32_t acc = bias[c];
        for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
          const int32_t iy = oy * p->stride_h - p->pad_top + ky * p->dilation_h;
          const int8_t *row = (const int8_t *)tm_row(in, iy);
          for (int32_t kx = 0; kx < p->kernel_w; ++kx) {
            const int32_t ix = x0 + kx * p->dilation_w;
            const int8_t *x =
                ix < 0 || ix >= p->in_w ? (const int8_t *)in->pad : row + ix * channels;
            acc += x[c] * (*w - zero);
            w += channels;
          }
        }
        acc = tm_rescale(acc, p->multiplier, p->shift, p->scale, c) + p->out_zero;
        y[ox * channels + c] = (int8_t)tm_clamp(acc, p->lo, p->hi);
      }
    }
  }
  return TM_OK;
}
