/* Listed rows times a matrix. */
#include "tm_edit_product.h"

#define BAND (8 * TM_ROWS) /* rows a thread computes at once, in one block of output channels */
#define MOST_ROWS 4096
#define MOST_GATHERED ((int64_t)1 << 19) /* floats gathered at once */

size_t tm_edit_linear_packed(const tm_edit_linear *l) {
  return (size_t)((int64_t)tm_parts(l->out_channels, TM_COLUMNS) * TM_COLUMNS * l->in_channels);
}

void tm_edit_pack_linear(const tm_edit_linear *l, const float *oi, float *packed) {
  tm_edit_pack(oi, l->out_channels, 1, l->in_channels, packed);
}

TM_INLINE void gather_row(const tm_edit_linear *l, const tm_edit_activation activation,
                          const float *from, int32_t image, float *to) {
  const float *scale = l->in_scale ? l->in_scale + (int64_t)image * l->in_channels : NULL;
  const float *shift = l->in_shift ? l->in_shift + (int64_t)image * l->in_channels : NULL;
  for (int32_t k = 0; k < l->in_channels; k += TM_LANES) {
    const int32_t some = l->in_channels - k;
    tm_vec x = tm_load_up_to(from + k, some);
    if (scale) {
      x = tm_fma(x, tm_load_up_to(scale + k, some), tm_load_up_to(shift + k, some));
    }
    tm_store(to + k, tm_activate(activation, l->leak, x));
  }
}

void tm_edit_linear_rows(const tm_edit_linear *l, const float *input, const float *residual,
                         float *output, const int32_t *rows, int32_t count) {
  if (count <= 0) {
    return;
  }
  /* A stride of a multiple of 2 KiB puts a column of rows into two sets of the first-level cache.
   */
  const int in_place =
      !l->in_scale && l->in_activation == TM_EDIT_NONE && (l->in_stride % 512 != 0 || count == 1);
  int64_t stride = tm_round_up(l->in_channels, 16);
  stride += stride % 128 == 0 ? 16 : 0;
  int32_t chunk = MOST_ROWS;
  if (!in_place && MOST_GATHERED / stride < chunk) {
    chunk = tm_most(BAND, (int32_t)(MOST_GATHERED / stride));
  }
  chunk = tm_parts(count, tm_parts(count, chunk));
  const int64_t pixels_at = in_place ? 0 : tm_round_up(chunk * stride * TM_FLOAT, 64);
  char *room = tm_edit_room(TM_ROOM_WORK, pixels_at + chunk * (int64_t)sizeof(tm_edit_pixel));
  if (!room) {
    return;
  }
  float *gathered = (float *)room;
  tm_edit_pixel *pixels = (tm_edit_pixel *)(room + pixels_at);
  const int64_t offset = 0, added = l->residual_stride ? l->residual_stride : l->out_stride;
  const tm_edit_product product = {1, &offset,           l->in_channels, l->out_channels,
                                   1, l->out_activation, l->leak,        l->weights};
  const int32_t blocks = tm_edit_product_blocks(&product);
  for (int32_t start = 0; start < count; start += chunk) {
    const int32_t number = tm_least(chunk, count - start), bands = tm_parts(number, BAND);
    TM_OMP(parallel if (number * product.inputs > TM_SMALL)) {
      TM_OMP(for schedule(static))
      for (int32_t i = 0; i < number; ++i) {
        const int32_t row = rows ? rows[start + i] : start + i;
        const int32_t image = l->image_rows ? row / l->image_rows : 0;
        const float *in = input + (int64_t)row * l->in_stride;
        if (!in_place) {
          float *place = gathered + i * stride;
          TM_BY_ACTIVATION(l->in_activation, gather_row(l, chosen, in, image, place))
          in = place;
        }
        pixels[i] = (tm_edit_pixel){in, output + (int64_t)row * l->out_stride,
                                    residual ? residual + row * added : NULL,
                                    l->bias ? l->bias + (int64_t)image * l->bias_image : NULL};
      }
      TM_OMP(for schedule(dynamic) collapse(2))
      for (int32_t block = 0; block < blocks; ++block) {
        for (int32_t band = 0; band < bands; ++band) {
          tm_edit_multiply(&product, pixels + band * BAND, tm_least(BAND, number - band * BAND),
                           block);
        }
      }
    }
  }
}
