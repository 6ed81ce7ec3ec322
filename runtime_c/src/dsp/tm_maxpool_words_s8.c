/* Maximum pooling, four channels at a time. No scratch. */
#include "tm_dsp.h"
#include "tm_pool.h"

static tm_status tm_maxpool_words_s8(const tm_maxpool_s8_params *p, const tm_rows *in,
                                     const tm_rows *out, const tm_part *part, void *scratch) {
  const uint32_t flip = 0xFFFFFFFFu;
  const uint32_t least = ((uint32_t)p->lo & 0xFFu) * 0x01010101u;
  /* the complement turns the order round: the lesser of two is the complement of a maximum */
  const uint32_t most = ~(((uint32_t)p->hi & 0xFFu) * 0x01010101u);
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox, y += p->channels) {
      const tm_pool_taps taps = tm_pool_window(oy, ox, in->rows, p->in_w, p->window_h, p->window_w,
                                               p->stride_h, p->stride_w, p->pad_top, p->pad_left);
      const uint8_t *const first = (const uint8_t *)tm_row(in, taps.y0);
      int32_t c = part->channel0;
      for (; c + 4 <= part->channel1; c += 4) {
        uint32_t best = least;
        const uint8_t *row = first;
        for (int32_t iy = taps.y0; iy < taps.y1; ++iy, row = tm_pool_next(in, row)) {
          const int8_t *x = (const int8_t *)row + taps.x0 * p->channels + c;
          for (int32_t ix = taps.x0; ix < taps.x1; ++ix) {
            best = tm_max4(tm_load4(x), best);
            x += p->channels;
          }
        }
        best = flip ^ tm_max4(flip ^ best, most);
        tm_store4(y + c, best);
      }
      for (; c < part->channel1; ++c) {
        y[c] = tm_maxpool_one(p, in, &taps, c);
      }
    }
  }
  return TM_OK;
}
