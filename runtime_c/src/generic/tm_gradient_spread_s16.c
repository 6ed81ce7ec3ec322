/* Gathers for each place. No scratch. */
#include "tm_gradient_spread.h"

/* How many places of a window lie inside a map of `size`. */
static inline int32_t tm_spread_inside(int32_t first, int32_t window, int32_t size) {
  const int32_t last = first + window;
  return (last > size ? size : last) - (first < 0 ? 0 : first);
}

static tm_status tm_gradient_spread_s16(const tm_gradient_spread_s16_params *p, const tm_rows *in,
                                        const tm_rows *out, const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t y = part->row0; y < part->row1; ++y) {
    const tm_pool_holders rows = tm_pool_holding(y, p->out_h, p->window_h, p->stride_h, p->pad_top);
    int16_t *g = (int16_t *)tm_row_out(out, y);
    for (int32_t x = 0; x < p->in_w; ++x) {
      const tm_pool_holders columns =
          tm_pool_holding(x, p->out_w, p->window_w, p->stride_w, p->pad_left);
      for (int32_t c = part->channel0; c < part->channel1; ++c) {
        int32_t sum = 0;
        for (int32_t oy = rows.first; oy < rows.last; ++oy) {
          const int16_t *h = (const int16_t *)tm_row(in, oy) + c;
          const int32_t high =
              tm_spread_inside(oy * p->stride_h - p->pad_top, p->window_h, p->in_h);
          for (int32_t ox = columns.first; ox < columns.last; ++ox) {
            const int32_t wide =
                tm_spread_inside(ox * p->stride_w - p->pad_left, p->window_w, p->in_w);
            const int32_t n = p->count_padding ? p->window_h * p->window_w : high * wide;
            sum += h[ox * p->channels] * p->multiplier[n - 1];
          }
        }
        g[x * p->channels + c] = tm_gradient_of(sum, p->shift, p->limit);
      }
    }
  }
  return TM_OK;
}
