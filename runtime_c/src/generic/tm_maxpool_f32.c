/* Plain maximum pooling of floats. No scratch. */
#include <math.h>

#include "tm_pool.h"

static tm_status tm_maxpool_f32(const tm_maxpool_f32_params *p, const tm_rows *in,
                                const tm_rows *out, const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    float *y = (float *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const tm_pool_taps taps = tm_pool_window(oy, ox, in->rows, p->in_w, p->window_h, p->window_w,
                                               p->stride_h, p->stride_w, p->pad_top, p->pad_left);
      for (int32_t c = part->channel0; c < part->channel1; ++c) {
        float most = -INFINITY;
        for (int32_t iy = taps.y0; iy < taps.y1; ++iy) {
          const float *row = (const float *)tm_row(in, iy);
          for (int32_t ix = taps.x0; ix < taps.x1; ++ix) {
            const float x = row[ix * p->channels + c];
            most = x > most ? x : most;
          }
        }
        y[ox * p->channels + c] = most < p->lo ? p->lo : (most > p->hi ? p->hi : most);
      }
    }
  }
  return TM_OK;
}
