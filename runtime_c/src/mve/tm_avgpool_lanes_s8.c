/* Average pooling of windows of up to 256 values, eight channels at a time. No scratch. */
#include "tm_lanes.h"
#include "tm_pool.h"

static tm_status tm_avgpool_lanes_s8(const tm_avgpool_line_s8_params *p, const tm_rows *in,
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
      int32_t c = part->channel0;
#if defined(__ARM_FEATURE_MVE)
      const uint8_t *const first = (const uint8_t *)tm_row(in, taps.y0);
      const int32_t less = -inside * p->in_zero;
      for (; c < part->channel1; c += 8) {
        const mve_pred16_t some = vctp16q((uint32_t)(part->channel1 - c));
        int16x8_t sums = vdupq_n_s16(0);
        int32x4_t even;
        int32x4_t odd;
        const uint8_t *row = first;
        for (int32_t iy = taps.y0; iy < taps.y1; ++iy, row = tm_pool_next(in, row)) {
          const int8_t *x = (const int8_t *)row + taps.x0 * p->channels + c;
          sums = tm_lanes_sum(sums, x, p->channels, wide, some);
        }
        even = tm_lanes_line(vaddq_n_s32(vmovlbq_s16(sums), less), p->up, p->multiplier[line],
                             p->offset[line], 0, p->down, p->lo, p->hi);
        odd = tm_lanes_line(vaddq_n_s32(vmovltq_s16(sums), less), p->up, p->multiplier[line],
                            p->offset[line], 0, p->down, p->lo, p->hi);
        vstrbq_p_s16(y + ox * p->channels + c, tm_lanes_join(even, odd), some);
      }
#else
      for (; c < part->channel1; ++c) {
        const int32_t sum = tm_pool_sum(in, &taps, p->channels, c);
        y[ox * p->channels + c] = tm_avgpool_line_one(p, sum, inside, line);
      }
#endif
    }
  }
  return TM_OK;
}
