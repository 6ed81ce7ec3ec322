/* Nearest-neighbour resize of any type. No scratch. */
#include "tm_resize.h"

static tm_status tm_resize_nearest_b8(const tm_resize_nearest_b8_params *p, const tm_rows *in,
                                      const tm_rows *out, const tm_part *part, void *scratch) {
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    const uint8_t *x = (const uint8_t *)tm_row(in, p->rows[oy]);
    uint8_t *y = (uint8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      memcpy(y, x + p->columns[ox] * p->pixel, (size_t)p->pixel);
      y += p->pixel;
    }
  }
  return TM_OK;
}
