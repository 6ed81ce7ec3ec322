/* Average pooling, rescaled by lines. No scratch. */
#include "tm_pool.h"

static tm_status tm_avgpool_line_s8(const tm_avgpool_line_s8_params *p, const tm_rows *in,
                                    const tm_rows *out, const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const tm_pool_taps taps = tm_pool_window(oy, ox, in->rows, p->in_w, p->window_h, p->window_w,
                                               p->stride_h, p->stride_w, p->pad_top, p->pad_left);
      const int32_t wide = taps.x1 - taps.x0;
      const int32_t inside = (taps.y1 - taps.y0) * wide;
      const int32_t line = (p->count_padding ? p->window_h * p->window_w : inside) - p->least;
      for (int32_t c = part->channel0; c < part->channel1; ++c) {
        const int32_t sum = tm_pool_sum(in, &taps, p->channels, c);
        y[ox * p->channels + c] = tm_avgpool_line_one(p, sum, inside, line);
      }
    }
  }
  return TM_OK;
}
