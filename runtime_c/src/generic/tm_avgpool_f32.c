/* Plain average pooling of floats. No scratch. */
#include "tm_pool.h"

static tm_status tm_avgpool_f32(const tm_avgpool_f32_params *p, const tm_rows *in,
                                const tm_rows *out, const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    float *y = (float *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const tm_pool_taps taps = tm_pool_window(oy, ox, in->rows, p->in_w, p->window_h, p->window_w,
                                               p->stride_h, p->stride_w, p->pad_top, p->pad_left);
      const int32_t inside = (taps.y1 - taps.y0) * (taps.x1 - taps.x0);
      const int32_t count = p->count_padding ? p->window_h * p->window_w : inside;
      for (int32_t c = part->channel0; c < part->channel1; ++c) {
        float sum = 0.0f;
        for (int32_t iy = taps.y0; iy < taps.y1; ++iy) {
          const float *row = (const float *)tm_row(in, iy);
          for (int32_t ix = taps.x0; ix < taps.x1; ++ix) {
            sum += row[ix * p->channels + c];
          }
        }
        sum /= (float)count;
        y[ox * p->channels + c] = sum < p->lo ? p->lo : (sum > p->hi ? p->hi : sum);
      }
    }
  }
  return TM_OK;
}
