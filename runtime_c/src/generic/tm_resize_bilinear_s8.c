/* Bilinear resize of int8 maps. No scratch. */
#include "tm_resize.h"

static tm_status tm_resize_bilinear_s8(const tm_resize_bilinear_s8_params *p, const tm_rows *in,
                                       const tm_rows *out, const tm_part *part, void *scratch) {
  const int32_t one = 1024;
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    const int8_t *top = (const int8_t *)tm_row(in, p->rows[2 * oy]);
    const int8_t *bottom = (const int8_t *)tm_row(in, p->rows[2 * oy + 1]);
    const int32_t v = p->row_weights[oy];
    int8_t *y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const int8_t *a = top + p->columns[2 * ox] * p->channels;
      const int8_t *b = top + p->columns[2 * ox + 1] * p->channels;
      const int8_t *d = bottom + p->columns[2 * ox] * p->channels;
      const int8_t *e = bottom + p->columns[2 * ox + 1] * p->channels;
      const int32_t w = p->column_weights[ox];
      const int32_t wa = (one - w) * (one - v);
      const int32_t wb = w * (one - v);
      const int32_t wd = (one - w) * v;
      const int32_t we = w * v;
      for (int32_t c = 0; c < p->channels; ++c) {
        const int32_t sum = a[c] * wa + b[c] * wb + d[c] * wd + e[c] * we;
        const int32_t half = sum > 0 ? 1 << 19 : -(1 << 19);
        *y++ = (int8_t)((sum + half) / (1 << 20));
      }
    }
  }
  return TM_OK;
}
