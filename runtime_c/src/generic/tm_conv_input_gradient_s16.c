/* Plain gradient of a convolution's input, any shape: gathers for each place. No scratch. */
#include "tm_conv_input_gradient.h"

static tm_status tm_conv_input_gradient_s16(const tm_conv_input_gradient_s16_params *p,
                                            const tm_rows *in, const int8_t *weights,
                                            const tm_rows *out, const tm_part *part,
                                            void *scratch) {
  const int32_t filter = p->kernel_h * p->kernel_w * p->group_in;
  (void)scratch;
  for (int32_t y = part->row0; y < part->row1; ++y) {
    int16_t *g = (int16_t *)tm_row_out(out, y);
    for (int32_t x = 0; x < p->in_w; ++x) {
      for (int32_t i = part->channel0; i < part->channel1; ++i) {
        const int32_t first = (i / p->group_in) * p->group_out;
        int32_t acc = 0;
        for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
          const int32_t oy =
              tm_gradient_place(y + p->pad_top - ky * p->dilation_h, p->stride_h, in->rows);
          const int16_t *row = oy < 0 ? NULL : (const int16_t *)tm_row(in, oy);
          for (int32_t kx = 0; kx < p->kernel_w && row != NULL; ++kx) {
            const int32_t ox =
                tm_gradient_place(x + p->pad_left - kx * p->dilation_w, p->stride_w, p->out_w);
            if (ox >= 0) {
              const int16_t *h = row + ox * p->out_c + first;
              const int8_t *w = weights + first * filter + (ky * p->kernel_w + kx) * p->group_in +
                                i % p->group_in;
              for (int32_t o = 0; o < p->group_out; ++o) {
                acc += h[o] * *w;
                w += filter;
              }
            }
          }
        }
        g[x * p->in_c + i] = tm_gradient_of(acc, p->shift, p->limit);
      }
    }
  }
  return TM_OK;
}
