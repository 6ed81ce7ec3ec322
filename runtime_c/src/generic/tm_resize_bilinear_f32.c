/* Bilinear resize of float maps. No scratch. */
#include "tm_resize.h"

static tm_status tm_resize_bilinear_f32(const tm_resize_bilinear_f32_params *p, const tm_rows *in,
                                        const tm_rows *out, const tm_part *part, void *scratch) {
  const float one = 1.0f;
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    const float *top = (const float *)tm_row(in, p->rows[2 * oy]);
    const float *bottom = (const float *)tm_row(in, p->rows[2 * oy + 1]);
    const float v = p->row_weights[oy];
    float *y = (float *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ++ox) {
      const float *a = top + p->columns[2 * ox] * p->channels;
      const float *b = top + p->columns[2 * ox + 1] * p->channels;
      const float *d = bottom + p->columns[2 * ox] * p->channels;
      const float *e = bottom + p->columns[2 * ox + 1] * p->channels;
      const float w = p->column_weights[ox];
      for (int32_t c = 0; c < p->channels; ++c) {
        *y++ = a[c] * (one - v) * (one - w) + d[c] * v * (one - w) + b[c] * (one - v) * w +
               e[c] * v * w;
      }
    }
  }
  return TM_OK;
}
