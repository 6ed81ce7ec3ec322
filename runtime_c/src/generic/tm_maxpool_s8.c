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
        y[ox * p->channels + c] = tm_maxpool_one(p, in, &taps, c);
      }
    }
  }
  return TM_OK;
}
