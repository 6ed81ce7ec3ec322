/* Elementwise functions, copies and sums of listed tiles. */
#include "tm_edit_inner.h"

/* A row of a tile: map pixels (y, x) to (y, x + width) of an image. */
typedef struct {
  int32_t image, y, x, width;
} strip;

/* Row `i` of a tile; its width is 0 below the map's edge. */
TM_INLINE strip row_of(const tm_edit_shape *s, const tm_edit_tile *tile, int32_t i,
                       int32_t tile_w) {
  const int32_t y = tile->y + i;
  const int32_t width = y < s->height ? tm_least(tile_w, s->width - tile->x) : 0;
  return (strip){tile->image, y, tile->x, width};
}

TM_INLINE int64_t pixel_of(const tm_edit_shape *s, strip r, int32_t stride) {
  return (((int64_t)r.image * s->height + r.y) * s->width + r.x) * stride;
}

TM_INLINE int small(const tm_edit_shape *s, int32_t count, int32_t tile_h, int32_t tile_w) {
  return (int64_t)count * tile_h * tile_w * s->channels < TM_SMALL;
}

TM_INLINE const float *operand_pixel(tm_edit_operand o, strip r, int32_t x) {
  return o.data + r.image * o.image + r.y * o.row + (r.x + x) * o.pixel;
}

/* `some` channels from the k-th on, at most TM_LANES. */
TM_INLINE tm_vec operand(tm_edit_operand o, const float *pixel, int32_t k, int32_t some) {
  if (o.channel == 1) {
    return tm_load_up_to(pixel + k, some);
  }
  if (o.channel == 0) {
    return tm_set(*pixel);
  }
  float lanes[TM_LANES] = {0};
  for (int32_t i = 0; i < tm_least(some, TM_LANES); ++i) {
    lanes[i] = pixel[(int64_t)(k + i) * o.channel];
  }
  return tm_load(lanes);
}

TM_INLINE tm_vec scaled(tm_vec x, const float *scale, const float *shift, int64_t image, int32_t k,
                        int32_t some) {
  return scale ? tm_fma(x, tm_load_up_to(scale + image + k, some),
                        tm_load_up_to(shift + image + k, some))
               : x;
}

TM_INLINE void affine_row(const tm_edit_shape *s, const tm_edit_activation activation,
                          tm_edit_operand x, const float *scale, const float *shift, strip row,
                          float *output, int32_t out_stride) {
  const int64_t image = (int64_t)row.image * s->channels;
  float *out = output + pixel_of(s, row, out_stride);
  for (int32_t i = 0; i < row.width; ++i, out += out_stride) {
    const float *from = operand_pixel(x, row, i);
    for (int32_t k = 0; k < s->channels; k += TM_LANES) {
      const int32_t some = s->channels - k;
      const tm_vec value = scaled(operand(x, from, k, some), scale, shift, image, k, some);
      tm_store_up_to(out + k, some, tm_activate(activation, s->leak, value));
    }
  }
}

void tm_edit_affine_tiles(const tm_edit_shape *s, tm_edit_operand x, const float *scale,
                          const float *shift, float *output, int32_t out_stride,
                          const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                          int32_t tile_w) {
  TM_OMP(parallel for schedule(static) collapse(2) if (!small(s, count, tile_h, tile_w)))
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t j = 0; j < tile_h; ++j) {
      const strip row = row_of(s, tiles + i, j, tile_w);
      TM_BY_ACTIVATION(s->activation,
                       affine_row(s, chosen, x, scale, shift, row, output, out_stride))
    }
  }
}

TM_INLINE void modulate_row(const tm_edit_shape *s, const tm_edit_activation activation,
                            tm_edit_operand x, const float *scale, const float *shift,
                            tm_edit_operand gamma, tm_edit_operand beta, strip row, float *output,
                            int32_t out_stride) {
  const int64_t image = (int64_t)row.image * s->channels;
  float *out = output + pixel_of(s, row, out_stride);
  for (int32_t i = 0; i < row.width; ++i, out += out_stride) {
    const float *from = operand_pixel(x, row, i);
    const float *factors = operand_pixel(gamma, row, i), *terms = operand_pixel(beta, row, i);
    for (int32_t k = 0; k < s->channels; k += TM_LANES) {
      const int32_t some = s->channels - k;
      const tm_vec factor = tm_add(tm_set(1.0f), operand(gamma, factors, k, some));
      const tm_vec value = scaled(operand(x, from, k, some), scale, shift, image, k, some);
      tm_store_up_to(
          out + k, some,
          tm_activate(activation, s->leak, tm_fma(value, factor, operand(beta, terms, k, some))));
    }
  }
}

void tm_edit_modulate_tiles(const tm_edit_shape *s, tm_edit_operand x, const float *scale,
                            const float *shift, tm_edit_operand gamma, tm_edit_operand beta,
                            float *output, int32_t out_stride, const tm_edit_tile *tiles,
                            int32_t count, int32_t tile_h, int32_t tile_w) {
  TM_OMP(parallel for schedule(static) collapse(2) if (!small(s, count, tile_h, tile_w)))
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t j = 0; j < tile_h; ++j) {
      const strip row = row_of(s, tiles + i, j, tile_w);
      TM_BY_ACTIVATION(s->activation, modulate_row(s, chosen, x, scale, shift, gamma, beta, row,
                                                   output, out_stride))
    }
  }
}

/* Of equal operands either, of others with a NaN a NaN. */
TM_INLINE tm_vec mean(tm_vec a, tm_vec b) {
  return tm_fma(tm_set(0.5f), a, tm_mul(tm_set(0.5f), b));
}

TM_INLINE tm_vec combine(const tm_edit_function function, tm_vec a, tm_vec b) {
  switch (function) {
    case TM_EDIT_SUB:
      return tm_sub(a, b);
    case TM_EDIT_MUL:
      return tm_mul(a, b);
    case TM_EDIT_DIV:
      return tm_div(a, b);
    case TM_EDIT_MIN:
      return tm_less(a, b, a, tm_less(b, a, b, mean(a, b)));
    case TM_EDIT_MAX:
      return tm_less(a, b, b, tm_less(b, a, a, mean(a, b)));
    default:
      return tm_add(a, b);
  }
}

TM_INLINE void binary_row(const tm_edit_shape *s, const tm_edit_function function,
                          tm_edit_operand a, tm_edit_operand b, strip row, float *output,
                          int32_t out_stride) {
  float *out = output + pixel_of(s, row, out_stride);
  for (int32_t i = 0; i < row.width; ++i, out += out_stride) {
    const float *first = operand_pixel(a, row, i), *second = operand_pixel(b, row, i);
    for (int32_t k = 0; k < s->channels; k += TM_LANES) {
      const int32_t some = s->channels - k;
      const tm_vec value =
          combine(function, operand(a, first, k, some), operand(b, second, k, some));
      tm_store_up_to(out + k, some, tm_activate(s->activation, s->leak, value));
    }
  }
}

void tm_edit_binary_tiles(const tm_edit_shape *s, tm_edit_function function, tm_edit_operand a,
                          tm_edit_operand b, float *output, int32_t out_stride,
                          const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                          int32_t tile_w) {
  TM_OMP(parallel for schedule(static) collapse(2) if (!small(s, count, tile_h, tile_w)))
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t j = 0; j < tile_h; ++j) {
      const strip row = row_of(s, tiles + i, j, tile_w);
      switch (function) {
        case TM_EDIT_ADD:
          binary_row(s, TM_EDIT_ADD, a, b, row, output, out_stride);
          break;
        case TM_EDIT_SUB:
          binary_row(s, TM_EDIT_SUB, a, b, row, output, out_stride);
          break;
        case TM_EDIT_MUL:
          binary_row(s, TM_EDIT_MUL, a, b, row, output, out_stride);
          break;
        case TM_EDIT_DIV:
          binary_row(s, TM_EDIT_DIV, a, b, row, output, out_stride);
          break;
        case TM_EDIT_MIN:
          binary_row(s, TM_EDIT_MIN, a, b, row, output, out_stride);
          break;
        case TM_EDIT_MAX:
          binary_row(s, TM_EDIT_MAX, a, b, row, output, out_stride);
          break;
      }
    }
  }
}

/* Where row `j` of tile `i` lies in a log. */
TM_INLINE int64_t logged(const tm_edit_shape *s, int32_t i, int32_t j, int32_t tile_h,
                         int32_t tile_w) {
  return ((int64_t)i * tile_h + j) * tile_w * s->channels;
}

TM_INLINE void copy_row(int32_t width, int32_t channels, const float *from, int64_t from_stride,
                        float *to, int64_t to_stride) {
  if (from_stride == channels && to_stride == channels) {
    memcpy(to, from, (size_t)((int64_t)width * channels) * sizeof(float));
    return;
  }
  for (int32_t x = 0; x < width; ++x) {
    memcpy(to + x * to_stride, from + x * from_stride, (size_t)channels * sizeof(float));
  }
}

void tm_edit_save_tiles(const tm_edit_shape *s, const float *map, int32_t stride, float *saved,
                        const tm_edit_tile *tiles, int32_t count, int32_t tile_h, int32_t tile_w) {
  TM_OMP(parallel for schedule(static) collapse(2) if (!small(s, count, tile_h, tile_w)))
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t j = 0; j < tile_h; ++j) {
      const strip row = row_of(s, tiles + i, j, tile_w);
      if (row.width > 0) {
        copy_row(row.width, s->channels, map + pixel_of(s, row, stride), stride,
                 saved + logged(s, i, j, tile_h, tile_w), s->channels);
      }
    }
  }
}

void tm_edit_restore_tiles(const tm_edit_shape *s, float *map, int32_t stride, const float *saved,
                           const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                           int32_t tile_w) {
  TM_OMP(parallel for schedule(static) collapse(2) if (!small(s, count, tile_h, tile_w)))
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t j = 0; j < tile_h; ++j) {
      const strip row = row_of(s, tiles + i, j, tile_w);
      if (row.width > 0) {
        copy_row(row.width, s->channels, saved + logged(s, i, j, tile_h, tile_w), s->channels,
                 map + pixel_of(s, row, stride), stride);
      }
    }
  }
}

/* Sums of up to this many pixels are in float, everything else in double. */
#define RUN 8
#define SUMMED 64 /* channels that a thread sums at once */

/* Adds `some` channels of `width` pixels, at most RUN, with the sign given. */
static void sum_run(const float *pixels, int64_t stride, int32_t width, int32_t some, double sign,
                    double *sum, double *square) {
  for (int32_t k = 0; k < some; k += TM_LANES) {
    const int32_t lanes = tm_least(TM_LANES, some - k);
    tm_vec total = tm_set(0.0f), squares = tm_set(0.0f);
    for (int32_t x = 0; x < width; ++x) {
      const tm_vec value = tm_load_up_to(pixels + x * stride + k, lanes);
      total = tm_add(total, value);
      squares = tm_fma(value, value, squares);
    }
    float totals[TM_LANES], all_squares[TM_LANES];
    tm_store(totals, total);
    tm_store(all_squares, squares);
    for (int32_t i = 0; i < lanes; ++i) {
      sum[k + i] += sign * (double)totals[i];
      square[k + i] += sign * (double)all_squares[i];
    }
  }
}

void tm_edit_sum_tiles(const tm_edit_shape *s, const float *map, int32_t stride, const float *saved,
                       double *sum, double *square, const tm_edit_tile *tiles, int32_t count,
                       int32_t tile_h, int32_t tile_w) {
  /* Threads share out the channels, so that the sums do not depend on their number. */
  TM_OMP(parallel for schedule(dynamic) if (!small(s, count, tile_h, tile_w)))
  for (int32_t first = 0; first < s->channels; first += SUMMED) {
    const int32_t some = tm_least(SUMMED, s->channels - first);
    for (int32_t i = 0; i < count; ++i) {
      double *sums = sum + (int64_t)tiles[i].image * s->channels + first;
      double *squares = square + (int64_t)tiles[i].image * s->channels + first;
      for (int32_t j = 0; j < tile_h; ++j) {
        const strip row = row_of(s, tiles + i, j, tile_w);
        const float *now = map + pixel_of(s, row, stride) + first;
        const float *before = saved ? saved + logged(s, i, j, tile_h, tile_w) + first : NULL;
        for (int32_t x = 0; x < row.width; x += RUN) {
          const int32_t width = tm_least(RUN, row.width - x);
          sum_run(now + (int64_t)x * stride, stride, width, some, 1.0, sums, squares);
          if (before) {
            sum_run(before + (int64_t)x * s->channels, s->channels, width, some, -1.0, sums,
                    squares);
          }
        }
      }
    }
  }
}
