/* Plain float convolution, any shape, weights OHWI. No scratch. */
#include "tm_conv2d.h"

static tm_status tm_conv2d_f32(const tm_conv2d_f32_params *p, const tm_rows *in,
                               const float *weights, const float *bias, const tm_rows *out,
                               const tm_part *part, void *scratch) {
  const int32_t filter = p->kernel_h * p->kernel_w * p->group_in;
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    float *y = (float *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const int32_t x0 = ox * p->stride_w - p->pad_left;
      for (int32_t o = part->channel0; o < part->channel1; ++o) {
        const int32_t offset = (o / p->group_out) * p->group_in;
        const float *w = weights + o * filter;
        float acc = 0.0f;
        for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
          const int32_t iy = oy * p->stride_h - p->pad_top + ky * p->dilation_h;
          const float *row = (const float *)tm_row(in, iy);
          for (int32_t kx = 0; kx < p->kernel_w; ++kx) {
            const int32_t ix = x0 + kx * p->dilation_w;
            const float *x = ix < 0 || ix >= p->in_w ? (const float *)in->pad : row + ix * p->in_c;
            for (int32_t i = 0; i < p->group_in; ++i) {
              acc += x[offset + i] * w[i];
            }
            w += p->group_in;
          }
        }
        acc += bias[o];
        y[ox * p->out_c + o] = acc < p->lo ? p->lo : (acc > p->hi ? p->hi : acc);
      }
    }
  }
  return TM_OK;
}
