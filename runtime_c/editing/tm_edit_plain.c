/* Portable kernels of tm_edit.h. Sums run over blocks of input channels, then taps, then channels,
   whatever the tile, so that every tiling gives the same bits. */
#include "tm_edit.h"
#include "tm_edit_math.h"

enum { BLOCK = 32, PATCH = 512, WIDE = 64 };

/* Nothing is allocated. */
void tm_edit_release(void) {
}

int32_t tm_edit_failures(void) {
  return 0;
}

static int32_t least(int32_t a, int32_t b) {
  return a < b ? a : b;
}

size_t tm_edit_conv_packed(const tm_edit_conv *c) {
  return (size_t)c->out_channels * (size_t)c->kernel_h * (size_t)c->kernel_w *
         (size_t)(c->in_channels / c->groups);
}

/* OHWI becomes [group][block of inputs][tap][input][output]. */
void tm_edit_pack_conv(const tm_edit_conv *c, const float *ohwi, float *packed) {
  int32_t depth = c->in_channels / c->groups, outs = c->out_channels / c->groups;
  int32_t taps = c->kernel_h * c->kernel_w;
  for (int32_t g = 0; g < c->groups; ++g) {
    for (int32_t start = 0; start < depth; start += BLOCK) {
      for (int32_t k = 0; k < taps; ++k) {
        for (int32_t i = start; i < least(start + BLOCK, depth); ++i) {
          for (int32_t o = 0; o < outs; ++o) {
            *packed++ = ohwi[((int64_t)(g * outs + o) * taps + k) * depth + i];
          }
        }
      }
    }
  }
}

/* One block of channels of an input pixel, scaled, shifted and activated; zeros outside. */
static void fetch(const tm_edit_conv *c, const float *input, int32_t image, int32_t y, int32_t x,
                  int32_t channel, int32_t count, float *to) {
  int32_t height = c->in_height * c->upsample, width = c->in_width * c->upsample;
  if (y < 0 || x < 0 || y >= height || x >= width) {
    memset(to, 0, (size_t)count * sizeof(float));
    return;
  }
  int64_t row = (int64_t)image * c->in_height + y / c->upsample;
  const float *from = input + (row * c->in_width + x / c->upsample) * c->in_stride + channel;
  if (c->in_scale != NULL) {
    const float *scale = c->in_scale + (int64_t)image * c->in_channels + channel;
    const float *shift = c->in_shift + (int64_t)image * c->in_channels + channel;
    for (int32_t i = 0; i < count; ++i) {
      to[i] = from[i] * scale[i] + shift[i];
    }
  } else {
    memcpy(to, from, (size_t)count * sizeof(float));
  }
  tm_edit_activate(c->in_activation, c->leak, to, count);
}

static void add_products(float *restrict out, const float *restrict in,
                         const float *restrict weights, int32_t count, int32_t outs) {
  for (int32_t i = 0; i < count; ++i) {
    float x = in[i];
    for (int32_t o = 0; o < outs; ++o) {
      out[o] += x * weights[o];
    }
    weights += outs;
  }
}

typedef struct {
  int32_t image, top, left, height, width;
} area;

/* Output pixels of an area, whose input patch fits into `PATCH` pixels, or a single pixel. */
static void conv_area(const tm_edit_conv *c, const float *input, const float *residual,
                      float *output, area a) {
  int64_t out_row = c->out_row != 0 ? c->out_row : (int64_t)c->out_width * c->out_stride;
  int64_t out_image = c->out_image != 0 ? c->out_image : c->out_height * out_row;
  int32_t residual_stride = c->residual_stride != 0 ? c->residual_stride : c->out_stride;
  const float *bias = c->bias == NULL ? NULL : c->bias + (int64_t)a.image * c->bias_image;
  float *base = output + a.image * out_image + a.top * out_row + (int64_t)a.left * c->out_stride;
  for (int32_t y = 0; y < a.height; ++y) {
    for (int32_t x = 0; x < a.width; ++x) {
      float *out = base + y * out_row + (int64_t)x * c->out_stride;
      int64_t row = (int64_t)a.image * c->out_height + a.top + y;
      const float *rest =
          residual == NULL ? NULL : residual + (row * c->out_width + a.left + x) * residual_stride;
      for (int32_t o = 0; o < c->out_channels; ++o) {
        float sum = bias == NULL ? 0.0f : bias[o];
        out[o] = rest == NULL ? sum : sum + rest[o];
      }
    }
  }
  int32_t depth = c->in_channels / c->groups, outs = c->out_channels / c->groups;
  int32_t first_y = a.top * c->stride_h - c->pad_top;
  int32_t first_x = a.left * c->stride_w - c->pad_left;
  int32_t rows = (a.height - 1) * c->stride_h + (c->kernel_h - 1) * c->dilation_h + 1;
  int32_t columns = (a.width - 1) * c->stride_w + (c->kernel_w - 1) * c->dilation_w + 1;
  int whole = (int64_t)rows * columns <= PATCH;
  float patch[PATCH * BLOCK];
  const float *weights = c->weights;
  for (int32_t g = 0; g < c->groups; ++g) {
    for (int32_t start = 0; start < depth; start += BLOCK) {
      int32_t count = least(BLOCK, depth - start);
      int32_t channel = g * depth + start;
      for (int32_t p = 0; whole && p < rows * columns; ++p) {
        fetch(c, input, a.image, first_y + p / columns, first_x + p % columns, channel, count,
              patch + p * BLOCK);
      }
      for (int32_t y = 0; y < a.height; ++y) {
        for (int32_t x = 0; x < a.width; ++x) {
          float *out = base + y * out_row + (int64_t)x * c->out_stride + g * outs;
          for (int32_t ky = 0; ky < c->kernel_h; ++ky) {
            for (int32_t kx = 0; kx < c->kernel_w; ++kx) {
              int32_t py = y * c->stride_h + ky * c->dilation_h;
              int32_t px = x * c->stride_w + kx * c->dilation_w;
              const float *in = patch + (whole ? py * columns + px : 0) * BLOCK;
              if (!whole) {
                fetch(c, input, a.image, first_y + py, first_x + px, channel, count, patch);
              }
              add_products(out, in, weights + (int64_t)(ky * c->kernel_w + kx) * count * outs,
                           count, outs);
            }
          }
        }
      }
      weights += (int64_t)c->kernel_h * c->kernel_w * count * outs;
    }
  }
  for (int32_t y = 0; y < a.height; ++y) {
    for (int32_t x = 0; x < a.width; ++x) {
      tm_edit_activate(c->out_activation, c->leak, base + y * out_row + (int64_t)x * c->out_stride,
                       c->out_channels);
    }
  }
}

/* Halves an area until its input patch fits. */
static void conv_parts(const tm_edit_conv *c, const float *input, const float *residual,
                       float *output, area a) {
  int64_t rows = (int64_t)(a.height - 1) * c->stride_h + (c->kernel_h - 1) * c->dilation_h + 1;
  int64_t columns = (int64_t)(a.width - 1) * c->stride_w + (c->kernel_w - 1) * c->dilation_w + 1;
  if (rows * columns <= PATCH || (a.height == 1 && a.width == 1)) {
    conv_area(c, input, residual, output, a);
    return;
  }
  area first = a, second = a;
  if (a.height >= a.width) {
    first.height = a.height / 2;
    second.top += first.height;
    second.height -= first.height;
  } else {
    first.width = a.width / 2;
    second.left += first.width;
    second.width -= first.width;
  }
  conv_parts(c, input, residual, output, first);
  conv_parts(c, input, residual, output, second);
}

void tm_edit_conv_tiles(const tm_edit_conv *c, const float *input, const float *residual,
                        float *output, const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                        int32_t tile_w) {
#pragma omp parallel for schedule(dynamic, 1)
  for (int32_t t = 0; t < count; ++t) {
    area a = {tiles[t].image, tiles[t].y, tiles[t].x, least(tile_h, c->out_height - tiles[t].y),
              least(tile_w, c->out_width - tiles[t].x)};
    conv_parts(c, input, residual, output, a);
  }
}

void tm_edit_conv_dense(const tm_edit_conv *c, const float *input, const float *residual,
                        float *output, int32_t images) {
  enum { SIDE = 16 };
  int32_t down = (c->out_height + SIDE - 1) / SIDE, across = (c->out_width + SIDE - 1) / SIDE;
#pragma omp parallel for schedule(dynamic, 1)
  for (int32_t t = 0; t < images * down * across; ++t) {
    int32_t y = t / across % down * SIDE, x = t % across * SIDE;
    area a = {t / across / down, y, x, least(SIDE, c->out_height - y),
              least(SIDE, c->out_width - x)};
    conv_parts(c, input, residual, output, a);
  }
}

/* Products, and what gathering a pixel costs, with 8 products to a fetched value. */
double tm_edit_conv_cost(const tm_edit_conv *c, int32_t tile_h, int32_t tile_w) {
  double products = (double)tile_h * tile_w * (double)tm_edit_conv_packed(c);
  double rows = (double)(tile_h - 1) * c->stride_h + (c->kernel_h - 1) * c->dilation_h + 1;
  double columns = (double)(tile_w - 1) * c->stride_w + (c->kernel_w - 1) * c->dilation_w + 1;
  double value = c->in_activation == TM_EDIT_NONE ? 8.0 : 32.0;
  return products + rows * columns * c->in_channels * value + 2000.0;
}

double tm_edit_conv_dense_cost(const tm_edit_conv *c) {
  double tiles = (double)((c->out_height + 15) / 16) * ((c->out_width + 15) / 16);
  return tiles * tm_edit_conv_cost(c, least(16, c->out_height), least(16, c->out_width));
}

size_t tm_edit_linear_packed(const tm_edit_linear *l) {
  return (size_t)l->in_channels * (size_t)l->out_channels;
}

void tm_edit_pack_linear(const tm_edit_linear *l, const float *oi, float *packed) {
  for (int32_t i = 0; i < l->in_channels; ++i) {
    for (int32_t o = 0; o < l->out_channels; ++o) {
      *packed++ = oi[(int64_t)o * l->in_channels + i];
    }
  }
}

void tm_edit_linear_rows(const tm_edit_linear *l, const float *input, const float *residual,
                         float *output, const int32_t *rows, int32_t count) {
  int32_t residual_stride = l->residual_stride != 0 ? l->residual_stride : l->out_stride;
#pragma omp parallel for schedule(dynamic, 16)
  for (int32_t r = 0; r < count; ++r) {
    int32_t row = rows == NULL ? r : rows[r];
    int32_t image = row / l->image_rows;
    const float *in = input + (int64_t)row * l->in_stride;
    float *out = output + (int64_t)row * l->out_stride;
    for (int32_t o = 0; o < l->out_channels; ++o) {
      float sum = l->bias == NULL ? 0.0f : l->bias[(int64_t)image * l->bias_image + o];
      out[o] = residual == NULL ? sum : sum + residual[(int64_t)row * residual_stride + o];
    }
    float block[BLOCK];
    for (int32_t start = 0; start < l->in_channels; start += BLOCK) {
      int32_t n = least(BLOCK, l->in_channels - start);
      for (int32_t i = 0; i < n; ++i) {
        int64_t at = (int64_t)image * l->in_channels + start + i;
        block[i] =
            l->in_scale == NULL ? in[start + i] : in[start + i] * l->in_scale[at] + l->in_shift[at];
      }
      tm_edit_activate(l->in_activation, l->leak, block, n);
      add_products(out, block, l->weights + (int64_t)start * l->out_channels, n, l->out_channels);
    }
    tm_edit_activate(l->out_activation, l->leak, out, l->out_channels);
  }
}

/* Keys one after the other, the sum rescaled when a greater score comes (online softmax). */
void tm_edit_attention(const tm_edit_attend *a, const float *queries, const float *keys,
                       const float *values, float *output, const int32_t *rows, int32_t count) {
#pragma omp parallel for schedule(dynamic, 4)
  for (int32_t r = 0; r < count; ++r) {
    int32_t row = rows == NULL ? r : rows[r];
    int64_t first = (int64_t)(row / a->queries) * a->keys;
    for (int32_t h = 0; h < a->heads; ++h) {
      const float *query = queries + (int64_t)row * a->query_stride + h * a->head_channels;
      float *out = output + (int64_t)row * a->out_stride + h * a->value_channels;
      float most = -INFINITY, sum = 0.0f;
      memset(out, 0, (size_t)a->value_channels * sizeof(float));
      for (int32_t k = 0; k < a->keys; ++k) {
        const float *key = keys + (first + k) * a->key_stride + h * a->head_channels;
        const float *value = values + (first + k) * a->value_stride + h * a->value_channels;
        float score = 0.0f;
        for (int32_t i = 0; i < a->head_channels; ++i) {
          score += query[i] * key[i];
        }
        score *= a->scale;
        if (score > most) {
          float factor = expf(most - score);
          sum *= factor;
          for (int32_t i = 0; i < a->value_channels; ++i) {
            out[i] *= factor;
          }
          most = score;
        }
        float weight = expf(score - most);
        sum += weight;
        for (int32_t i = 0; i < a->value_channels; ++i) {
          out[i] += weight * value[i];
        }
      }
      for (int32_t i = 0; i < a->value_channels; ++i) {
        out[i] /= sum;
      }
    }
  }
}

static const float *operand_at(tm_edit_operand v, int64_t image, int64_t y, int64_t x) {
  return v.data + image * v.image + y * v.row + x * v.pixel;
}

/* The pixels of a tile, in the order of rows. */
#define EACH_PIXEL(s, tile, tile_h, tile_w)                                    \
  for (int32_t y = (tile).y; y < least((tile).y + (tile_h), (s)->height); ++y) \
    for (int32_t x = (tile).x; x < least((tile).x + (tile_w), (s)->width); ++x)

static int64_t pixel_of(const tm_edit_shape *s, int32_t image, int32_t y, int32_t x) {
  return ((int64_t)image * s->height + y) * s->width + x;
}

static float binary(tm_edit_function function, float a, float b) {
  switch (function) {
    case TM_EDIT_ADD:
      return a + b;
    case TM_EDIT_SUB:
      return a - b;
    case TM_EDIT_MUL:
      return a * b;
    case TM_EDIT_DIV:
      return a / b;
    case TM_EDIT_MIN:
      return a < b ? a : b;
    default:
      return a > b ? a : b;
  }
}

void tm_edit_affine_tiles(const tm_edit_shape *s, tm_edit_operand v, const float *scale,
                          const float *shift, float *output, int32_t out_stride,
                          const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                          int32_t tile_w) {
#pragma omp parallel for schedule(static)
  for (int32_t t = 0; t < count; ++t) {
    int32_t image = tiles[t].image;
    int64_t at = (int64_t)image * s->channels;
    EACH_PIXEL(s, tiles[t], tile_h, tile_w) {
      const float *in = operand_at(v, image, y, x);
      float *out = output + pixel_of(s, image, y, x) * out_stride;
      for (int32_t c = 0; c < s->channels; ++c) {
        float value = in[(int64_t)c * v.channel];
        out[c] = scale == NULL ? value : value * scale[at + c] + shift[at + c];
      }
      tm_edit_activate(s->activation, s->leak, out, s->channels);
    }
  }
}

void tm_edit_modulate_tiles(const tm_edit_shape *s, tm_edit_operand v, const float *scale,
                            const float *shift, tm_edit_operand gamma, tm_edit_operand beta,
                            float *output, int32_t out_stride, const tm_edit_tile *tiles,
                            int32_t count, int32_t tile_h, int32_t tile_w) {
#pragma omp parallel for schedule(static)
  for (int32_t t = 0; t < count; ++t) {
    int32_t image = tiles[t].image;
    int64_t at = (int64_t)image * s->channels;
    EACH_PIXEL(s, tiles[t], tile_h, tile_w) {
      const float *in = operand_at(v, image, y, x);
      const float *factor = operand_at(gamma, image, y, x);
      const float *summand = operand_at(beta, image, y, x);
      float *out = output + pixel_of(s, image, y, x) * out_stride;
      for (int32_t c = 0; c < s->channels; ++c) {
        float value = in[(int64_t)c * v.channel];
        value = scale == NULL ? value : value * scale[at + c] + shift[at + c];
        out[c] = value * (1.0f + factor[(int64_t)c * gamma.channel]) +
                 summand[(int64_t)c * beta.channel];
      }
      tm_edit_activate(s->activation, s->leak, out, s->channels);
    }
  }
}

void tm_edit_binary_tiles(const tm_edit_shape *s, tm_edit_function function, tm_edit_operand a,
                          tm_edit_operand b, float *output, int32_t out_stride,
                          const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                          int32_t tile_w) {
#pragma omp parallel for schedule(static)
  for (int32_t t = 0; t < count; ++t) {
    int32_t image = tiles[t].image;
    EACH_PIXEL(s, tiles[t], tile_h, tile_w) {
      const float *first = operand_at(a, image, y, x);
      const float *second = operand_at(b, image, y, x);
      float *out = output + pixel_of(s, image, y, x) * out_stride;
      for (int32_t c = 0; c < s->channels; ++c) {
        out[c] = binary(function, first[(int64_t)c * a.channel], second[(int64_t)c * b.channel]);
      }
      tm_edit_activate(s->activation, s->leak, out, s->channels);
    }
  }
}

void tm_edit_save_tiles(const tm_edit_shape *s, const float *map, int32_t stride, float *saved,
                        const tm_edit_tile *tiles, int32_t count, int32_t tile_h, int32_t tile_w) {
  size_t bytes = (size_t)s->channels * sizeof(float);
#pragma omp parallel for schedule(static)
  for (int32_t t = 0; t < count; ++t) {
    float *to = saved + (int64_t)t * tile_h * tile_w * s->channels;
    EACH_PIXEL(s, tiles[t], tile_h, tile_w) {
      memcpy(to, map + pixel_of(s, tiles[t].image, y, x) * stride, bytes);
      to += s->channels;
    }
  }
}

void tm_edit_restore_tiles(const tm_edit_shape *s, float *map, int32_t stride, const float *saved,
                           const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                           int32_t tile_w) {
  size_t bytes = (size_t)s->channels * sizeof(float);
#pragma omp parallel for schedule(static)
  for (int32_t t = 0; t < count; ++t) {
    const float *from = saved + (int64_t)t * tile_h * tile_w * s->channels;
    EACH_PIXEL(s, tiles[t], tile_h, tile_w) {
      memcpy(map + pixel_of(s, tiles[t].image, y, x) * stride, from, bytes);
      from += s->channels;
    }
  }
}

/* Threads share the channels, so that sums do not depend on their number. */
void tm_edit_sum_tiles(const tm_edit_shape *s, const float *map, int32_t stride, const float *saved,
                       double *sum, double *square, const tm_edit_tile *tiles, int32_t count,
                       int32_t tile_h, int32_t tile_w) {
#pragma omp parallel for schedule(static)
  for (int32_t start = 0; start < s->channels; start += WIDE) {
    int32_t n = least(WIDE, s->channels - start);
    for (int32_t t = 0; t < count; ++t) {
      int64_t at = (int64_t)tiles[t].image * s->channels + start;
      const float *old =
          saved == NULL ? NULL : saved + (int64_t)t * tile_h * tile_w * s->channels + start;
      EACH_PIXEL(s, tiles[t], tile_h, tile_w) {
        const float *in = map + pixel_of(s, tiles[t].image, y, x) * stride + start;
        for (int32_t c = 0; c < n; ++c) {
          double value = in[c], before = old == NULL ? 0.0 : old[c];
          sum[at + c] += value - before;
          square[at + c] += value * value - before * before;
        }
        old = old == NULL ? NULL : old + s->channels;
      }
    }
  }
}
