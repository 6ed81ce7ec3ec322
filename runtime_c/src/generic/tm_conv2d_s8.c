/* Plain convolution, any shape, weights OHWI. No scratch. */
#include "tm_conv2d.h"
#include "tm_rescale.h"

static inline int32_t tm_conv2d_tap_s8(int32_t acc, const int8_t *x, const int8_t *w,
                                       int32_t count, int32_t zero) {
  for (int32_t i = 0; i < count; ++i) {
    acc += x[i] * (w[i] - zero);
  }
  return acc;
}

static tm_status tm_conv2d_s8(const tm_conv2d_s8_params *p, const tm_rows *in,
                              const int8_t *weights, const int32_t *bias, const tm_rows *out,
                              const tm_part *part, void *scratch) {
  const int32_t filter = p->kernel_h * p->kernel_w * p->group_in;
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const int32_t x0 = ox * p->stride_w - p->pad_left;
      for (int32_t o = part->channel0; o < part->channel1; ++o) {
        const int32_t offset = (o / p->group_out) * p->group_in;
        const int32_t zero = p->weights_zero == NULL ? 0 : p->weights_zero[o];
        const int8_t *w = weights + o * filter;
        int32_t acc = bias[o];
        for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
          const int32_t iy = oy * p->stride_h - p->pad_top + ky * p->dilation_h;
          const int8_t *row = (const int8_t *)tm_row(in, iy);
          for (int32_t kx = 0; kx < p->kernel_w; ++kx) {
            const int32_t ix = x0 + kx * p->dilation_w;
            const int8_t *x = ix < 0 || ix >= p->in_w ? (const int8_t *)in->pad : row + ix * p->in_c;
            acc = tm_conv2d_tap_s8(acc, x + offset, w, p->group_in, zero);
            w += p->group_in;
          }
        }
        acc = tm_rescale(acc, p->multiplier, p->shift, p->scale, o) + p->out_zero;
        y[ox * p->out_c + o] = (int8_t)tm_clamp(acc, p->lo, p->hi);
      }
    }
  }
  return TM_OK;
}
