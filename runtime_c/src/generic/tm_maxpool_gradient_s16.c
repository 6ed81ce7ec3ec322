/* Gathers for each place: it looks for an equal value before it in each window. No scratch. */
#include "tm_maxpool_gradient.h"

/* Whether (y, x) is the first place of window (oy, ox) with the value of that place, channel c. */
static int32_t tm_maxpool_first(const tm_maxpool_gradient_s16_params *p, const tm_rows *map,
                                int32_t oy, int32_t ox, int32_t y, int32_t x, int32_t c) {
  const tm_pool_taps taps = tm_pool_window(oy, ox, p->in_h, p->in_w, p->window_h, p->window_w,
                                           p->stride_h, p->stride_w, p->pad_top, p->pad_left);
  const int32_t value = ((const int8_t *)tm_row(map, y))[x * p->channels + c];
  for (int32_t iy = taps.y0; iy <= y; ++iy) {
    const int8_t *row = (const int8_t *)tm_row(map, iy) + c;
    const int32_t end = iy == y ? x : taps.x1;
    for (int32_t ix = taps.x0; ix < end; ++ix) {
      if (row[ix * p->channels] == value) {
        return 0;
      }
    }
  }
  return 1;
}

static tm_status tm_maxpool_gradient_s16(const tm_maxpool_gradient_s16_params *p,
                                         const tm_rows *values, const tm_rows *pooled,
                                         const tm_rows *in, const tm_rows *out, const tm_part *part,
                                         void *scratch) {
  (void)scratch;
  for (int32_t y = part->row0; y < part->row1; ++y) {
    const tm_pool_holders rows = tm_pool_holding(y, p->out_h, p->window_h, p->stride_h, p->pad_top);
    const int8_t *value = (const int8_t *)tm_row(values, y);
    int16_t *g = (int16_t *)tm_row_out(out, y);
    for (int32_t x = 0; x < p->in_w; ++x) {
      const tm_pool_holders columns =
          tm_pool_holding(x, p->out_w, p->window_w, p->stride_w, p->pad_left);
      for (int32_t c = part->channel0; c < part->channel1; ++c) {
        const int32_t k = x * p->channels + c;
        int32_t sum = 0;
        for (int32_t oy = rows.first; oy < rows.last; ++oy) {
          const int8_t *most = (const int8_t *)tm_row(pooled, oy) + c;
          const int16_t *h = (const int16_t *)tm_row(in, oy) + c;
          for (int32_t ox = columns.first; ox < columns.last; ++ox) {
            if (most[ox * p->channels] == value[k] &&
                tm_maxpool_first(p, values, oy, ox, y, x, c)) {
              sum += h[ox * p->channels];
            }
          }
        }
        g[k] = tm_gradient_of(sum, p->shift, p->limit);
      }
    }
  }
  return TM_OK;
}
