/* Maximum pooling, sixteen channels at a time. No scratch. */
#include "tm_lanes.h"
#include "tm_pool.h"

static tm_status tm_maxpool_lanes_s8(const tm_maxpool_s8_params *p, const tm_rows *in,
                                     const tm_rows *out, const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const tm_pool_taps taps = tm_pool_window(oy, ox, in->rows, p->in_w, p->window_h, p->window_w,
                                               p->stride_h, p->stride_w, p->pad_top, p->pad_left);
      int32_t c = part->channel0;
#if defined(__ARM_FEATURE_MVE)
      const uint8_t *const first = (const uint8_t *)tm_row(in, taps.y0);
      for (; c < part->channel1; c += 16) {
        const mve_pred16_t some = vctp8q((uint32_t)(part->channel1 - c));
        int8x16_t best = vdupq_n_s8((int8_t)p->lo);
        const uint8_t *row = first;
        for (int32_t iy = taps.y0; iy < taps.y1; ++iy, row = tm_pool_next(in, row)) {
          const int8_t *x = (const int8_t *)row + taps.x0 * p->channels + c;
          for (int32_t ix = taps.x0; ix < taps.x1; ++ix) {
            best = vmaxq_s8(best, vldrbq_z_s8(x, some));
            x += p->channels;
          }
        }
        best = vminq_s8(best, vdupq_n_s8((int8_t)p->hi));
        vstrbq_p_s8(y + ox * p->channels + c, best, some);
      }
#else
      for (; c < part->channel1; ++c) {
        y[ox * p->channels + c] = tm_maxpool_one(p, in, &taps, c);
      }
#endif
    }
  }
  return TM_OK;
}
