/* Plain maximum pooling. No scratch. */
#include "tm_pool.h"

static tm_status tm_maxpool_s8(const tm_maxpool_s8_params *p, const tm_rows *in, const tm_rows *out,
                               const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const tm_pool_taps taps = tm_pool_window(oy, ox, in->rows, p->in_w, p->window_h, p->window_w,
                                               p->stride_h, p->stride_w, p->pad_top, p->pad_left);
      for (int32_t c = part->channel0; c < part->channel1; ++c) {
        int32_t most = INT8_MIN;
        for (int32_t iy = taps.y0; iy < taps.y1; ++iy) {
          const int8_t *row = (const int8_t *)tm_row(in, iy);
          for (int32_t ix = taps.x0; ix < taps.x1; ++ix) {
            const int32_t x = row[ix * p->channels + c];
            most = x > most ? x : most;
          }
        }
        most = most < p->lo ? p->lo : (most > p->hi ? p->hi : most);
        y[ox * p->channels + c] = (int8_t)most;
      }
    }
  }
  return TM_OK;
}
