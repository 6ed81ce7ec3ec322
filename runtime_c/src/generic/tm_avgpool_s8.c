/* Plain average pooling, input and output quantised alike. No scratch. */
#include "tm_pool.h"

static tm_status tm_avgpool_s8(const tm_avgpool_s8_params *p, const tm_rows *in, const tm_rows *out,
                               const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const tm_pool_taps taps = tm_pool_window(oy, ox, in->rows, p->in_w, p->window_h, p->window_w,
                                               p->stride_h, p->stride_w, p->pad_top, p->pad_left);
      const int32_t inside = (taps.y1 - taps.y0) * (taps.x1 - taps.x0);
      const int32_t count = p->count_padding ? p->window_h * p->window_w : inside;
      for (int32_t c = part->channel0; c < part->channel1; ++c) {
        int32_t sum = 0;
        int32_t mean;
        for (int32_t iy = taps.y0; iy < taps.y1; ++iy) {
          const int8_t *row = (const int8_t *)tm_row(in, iy);
          for (int32_t ix = taps.x0; ix < taps.x1; ++ix) {
            sum += row[ix * p->channels + c];
          }
        }
        if (p->half_up) {
          const int32_t total = sum + count / 2;
          mean = total >= 0 ? total / count : -((count - 1 - total) / count);
        } else {
          mean = sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
        }
        mean = mean < p->lo ? p->lo : (mean > p->hi ? p->hi : mean);
        y[ox * p->channels + c] = (int8_t)mean;
      }
    }
  }
  return TM_OK;
}
