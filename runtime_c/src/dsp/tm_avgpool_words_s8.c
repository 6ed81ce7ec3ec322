/* Average pooling of windows of up to 256 values, four channels at a time. No scratch. */
#include "tm_pool.h"
#include "tm_words.h"

static tm_status tm_avgpool_words_s8(const tm_avgpool_line_s8_params *p, const tm_rows *in,
                                     const tm_rows *out, const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox, y += p->channels) {
      const tm_pool_taps taps = tm_pool_window(oy, ox, in->rows, p->in_w, p->window_h, p->window_w,
                                               p->stride_h, p->stride_w, p->pad_top, p->pad_left);
      const int32_t wide = taps.x1 - taps.x0;
      const int32_t inside = (taps.y1 - taps.y0) * wide;
      const int32_t line = (p->count_padding ? p->window_h * p->window_w : inside) - p->least;
      const uint8_t *const first = (const uint8_t *)tm_row(in, taps.y0);
      int32_t c = part->channel0;
      for (; c + 4 <= part->channel1; c += 4) {
        int8_t *to = y + c;
        tm_words sums = {0, 0};
        const uint8_t *row = first;
        for (int32_t iy = taps.y0; iy < taps.y1; ++iy, row = tm_pool_next(in, row)) {
          const int8_t *x = (const int8_t *)row + taps.x0 * p->channels + c;
          sums = tm_words_sum(sums, x, p->channels, wide);
        }
        to[0] = tm_avgpool_line_one(p, tm_low16(sums.even), inside, line);
        to[1] = tm_avgpool_line_one(p, tm_low16(sums.odd), inside, line);
        to[2] = tm_avgpool_line_one(p, tm_high16(sums.even), inside, line);
        to[3] = tm_avgpool_line_one(p, tm_high16(sums.odd), inside, line);
      }
      for (; c < part->channel1; ++c) {
        const int32_t sum = tm_pool_sum(in, &taps, p->channels, c);
        y[c] = tm_avgpool_line_one(p, sum, inside, line);
      }
    }
  }
  return TM_OK;
}
