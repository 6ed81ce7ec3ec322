/* Plain transposed convolution of float: gathers for each output. No scratch. */
#include "tm_conv_transpose.h"

static tm_status tm_conv_transpose_f32(const tm_conv_transpose_f32_params *p, const tm_rows *in,
                                       const float *weights, const float *bias, const tm_rows *out,
                                       const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    float *y = (float *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      for (int32_t o = part->channel0; o < part->channel1; ++o) {
        const int32_t first = (o / p->group_out) * p->group_in;
        float acc = bias[o];
        for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
          const int32_t iy =
              tm_conv_transpose_place(oy + p->pad_top - ky * p->dilation_h, p->stride_h, in->rows);
          const float *row = iy < 0 ? NULL : (const float *)tm_row(in, iy);
          for (int32_t kx = 0; kx < p->kernel_w && row != NULL; ++kx) {
            const int32_t ix = tm_conv_transpose_place(ox + p->pad_left - kx * p->dilation_w,
                                                       p->stride_w, p->in_w);
            if (ix >= 0) {
              const float *x = row + ix * p->in_c + first;
              const float *w = weights + ((o * p->kernel_h + ky) * p->kernel_w + kx) * p->group_in;
              for (int32_t i = 0; i < p->group_in; ++i) {
                acc += x[i] * w[i];
              }
            }
          }
        }
        acc = acc < p->lo ? p->lo : acc;
        y[ox * p->out_c + o] = acc > p->hi ? p->hi : acc;
      }
    }
  }
  return TM_OK;
}
