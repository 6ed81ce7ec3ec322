/* Plain transposed convolution of int8: gathers for each output. No scratch. */
#include "tm_conv_transpose.h"
#include "tm_rescale.h"

static tm_status tm_conv_transpose_s8(const tm_conv_transpose_s8_params *p, const tm_rows *in,
                                      const int8_t *weights, const int32_t *bias,
                                      const tm_rows *out, const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      for (int32_t o = part->channel0; o < part->channel1; ++o) {
        const int32_t first = (o / p->group_out) * p->group_in;
        int32_t acc = bias[o];
        for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
          const int32_t iy =
              tm_conv_transpose_place(oy + p->pad_top - ky * p->dilation_h, p->stride_h, in->rows);
          const int8_t *row = iy < 0 ? NULL : (const int8_t *)tm_row(in, iy);
          for (int32_t kx = 0; kx < p->kernel_w && row != NULL; ++kx) {
            const int32_t ix = tm_conv_transpose_place(ox + p->pad_left - kx * p->dilation_w,
                                                       p->stride_w, p->in_w);
            if (ix >= 0) {
              const int8_t *x = row + ix * p->in_c + first;
              const int8_t *w = weights + ((o * p->kernel_h + ky) * p->kernel_w + kx) * p->group_in;
              for (int32_t i = 0; i < p->group_in; ++i) {
                acc += (x[i] - p->in_zero) * w[i];
              }
            }
          }
        }
        acc = tm_rescale(acc, p->multiplier, p->shift, p->scale, o) + p->out_zero;
        y[ox * p->out_c + o] = (int8_t)tm_clamp(acc, p->lo, p->hi);
      }
    }
  }
  return TM_OK;
}
