/* Convolutions of listed tiles: packing, gathering, direct sums, and the choice between these and
   F(4x4, 3x3). */
#include "tm_edit_conv.h"

#include "tm_edit_product.h"

#define MOST_GATHERED ((int64_t)1 << 19) /* floats gathered at once: half of a shared cache */
#define MOST_PIXELS 4096
#define GATHER_CHANNELS 128 /* a thread gathers at once */
#define BAND (8 * TM_ROWS)  /* pixels a thread computes at once, in one block of output channels */
#define PATCH 16            /* larger tiles are gathered in parts */

static int is_depthwise(const tm_edit_conv *c) {
  return c->groups > 1 && c->groups == c->in_channels && c->groups == c->out_channels;
}

static int32_t taps_of(const tm_edit_conv *c) {
  return c->kernel_h * c->kernel_w;
}

size_t tm_edit_conv_packed(const tm_edit_conv *c) {
  if (is_depthwise(c)) {
    return (size_t)((int64_t)taps_of(c) * c->in_channels);
  }
  return (size_t)((int64_t)c->groups * tm_group_blocks(c) * tm_block_floats(c));
}

void tm_edit_pack_conv(const tm_edit_conv *c, const float *ohwi, float *packed) {
  const int32_t taps = taps_of(c);
  if (is_depthwise(c)) {
    for (int32_t tap = 0; tap < taps; ++tap) {
      for (int32_t channel = 0; channel < c->in_channels; ++channel) {
        *packed++ = ohwi[(int64_t)channel * taps + tap];
      }
    }
    return;
  }
  const int32_t outputs = c->out_channels / c->groups, inputs = c->in_channels / c->groups;
  for (int32_t group = 0; group < c->groups; ++group) {
    tm_edit_pack(ohwi + (int64_t)group * outputs * taps * inputs, outputs, taps, inputs,
                 packed + (int64_t)group * tm_group_blocks(c) * tm_block_floats(c));
  }
}

int64_t tm_edit_patches(const tm_edit_conv *c, const tm_edit_tile *tiles, int32_t count,
                        int32_t tile_h, int32_t tile_w, int32_t height, int32_t width,
                        tm_edit_patch *patches) {
  int64_t number = 0;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t below = tm_least(tiles[i].y + tile_h, c->out_height);
    const int32_t right = tm_least(tiles[i].x + tile_w, c->out_width);
    for (int32_t y = tiles[i].y; y < below; y += height) {
      for (int32_t x = tiles[i].x; x < right; x += width, ++number) {
        if (patches) {
          patches[number] = (tm_edit_patch){tiles[i].image, y, x, tm_least(height, below - y),
                                            tm_least(width, right - x)};
        }
      }
    }
  }
  return number;
}

TM_INLINE void gather_pixel(const tm_edit_activation activation, const int scaled, float leak,
                            const float *from, const float *scale, const float *shift,
                            int32_t channels, float *to) {
  int32_t k = 0;
  for (; k + TM_LANES <= channels; k += TM_LANES) {
    tm_vec x = tm_load(from + k);
    if (scaled) {
      x = tm_fma(x, tm_load(scale + k), tm_load(shift + k));
    }
    tm_store(to + k, tm_activate(activation, leak, x));
  }
  if (k < channels) {
    const int32_t some = channels - k;
    tm_vec x = tm_load_some(from + k, some);
    if (scaled) {
      x = tm_fma(x, tm_load_some(scale + k, some), tm_load_some(shift + k, some));
    }
    tm_store(to + k, tm_activate(activation, leak, x));
  }
}

TM_INLINE void gather_window(const tm_edit_conv *c, const tm_edit_activation activation,
                             const int scaled, const float *input, const tm_edit_window *w,
                             float *block, int64_t stride, int64_t row) {
  const float *map = input + (int64_t)w->image * c->in_height * c->in_width * c->in_stride;
  const int64_t place = (int64_t)w->image * c->in_channels + w->first;
  const float *scale = scaled ? c->in_scale + place : NULL;
  const float *shift = scaled ? c->in_shift + place : NULL;
  const int32_t up = c->upsample, height = c->in_height * up, width = c->in_width * up;
  for (int32_t i = 0; i < w->rows; ++i) {
    const int32_t y = w->y + i * w->row_step;
    float *to = block + i * row;
    for (int32_t j = 0; j < w->columns; ++j, to += stride) {
      const int32_t x = w->x + j * w->column_step;
      if (y < 0 || y >= height || x < 0 || x >= width) {
        for (int32_t k = 0; k < w->channels; k += TM_LANES) {
          tm_store(to + k, tm_set(0.0f));
        }
        continue;
      }
      const int64_t pixel =
          up == 1 ? (int64_t)y * c->in_width + x : (int64_t)(y / up) * c->in_width + x / up;
      gather_pixel(activation, scaled, c->leak, map + pixel * c->in_stride + w->first, scale, shift,
                   w->channels, to);
    }
  }
}

void tm_edit_gather(const tm_edit_conv *c, const float *input, const tm_edit_window *window,
                    float *block, int64_t stride, int64_t row) {
  if (c->in_scale) {
    TM_BY_ACTIVATION(c->in_activation,
                     gather_window(c, chosen, 1, input, window, block, stride, row))
  } else {
    TM_BY_ACTIVATION(c->in_activation,
                     gather_window(c, chosen, 0, input, window, block, stride, row))
  }
}

/* Where the pixels of a patch and their windows lie in a gathered block. */
typedef struct {
  int32_t row_step, column_step; /* input pixels that the block leaves out */
  int64_t row, stride;           /* floats between rows and pixels of the block */
  int64_t down, right;           /* floats between two output pixels' windows */
} layout;

static int32_t window_rows(const tm_edit_conv *c, int32_t height) {
  const int32_t step = c->kernel_h == 1 ? 1 : c->stride_h;
  return (height - 1) * step + (c->kernel_h - 1) * c->dilation_h + 1;
}
static int32_t window_columns(const tm_edit_conv *c, int32_t width) {
  const int32_t step = c->kernel_w == 1 ? 1 : c->stride_w;
  return (width - 1) * step + (c->kernel_w - 1) * c->dilation_w + 1;
}

/* Of blocks that hold the window of `width` pixels. */
static layout layout_of(const tm_edit_conv *c, int32_t width) {
  /* Of a window one pixel high or wide only the rows or columns that a stride hits are gathered. */
  const int thin_h = c->kernel_h == 1, thin_w = c->kernel_w == 1;
  int64_t stride = (int64_t)tm_round_up((int64_t)c->in_channels, 16);
  if (stride % 128 == 0) {
    stride += 16; /* else a column of pixels shares few sets of the first-level cache */
  }
  const int64_t row = window_columns(c, width) * stride;
  return (layout){thin_h ? c->stride_h : 1,         thin_w ? c->stride_w : 1,           row, stride,
                  (thin_h ? 1 : c->stride_h) * row, (thin_w ? 1 : c->stride_w) * stride};
}

static void gather_patch(const tm_edit_conv *c, const layout *l, const float *input,
                         const tm_edit_patch *patch, int32_t first, int32_t channels,
                         float *block) {
  const tm_edit_window window = {patch->image,
                                 patch->y * c->stride_h - c->pad_top,
                                 patch->x * c->stride_w - c->pad_left,
                                 window_rows(c, patch->height),
                                 window_columns(c, patch->width),
                                 l->row_step,
                                 l->column_step,
                                 first,
                                 channels};
  tm_edit_gather(c, input, &window, block + first, l->stride, l->row);
}

/* Whether pixels can be read where they lie: windows of one pixel inside the map, unchanged. */
static int reads_map(const tm_edit_conv *c) {
  return c->kernel_h == 1 && c->kernel_w == 1 && c->pad_top == 0 && c->pad_left == 0 &&
         !c->in_scale && c->in_activation == TM_EDIT_NONE && c->in_stride % 512 != 0 &&
         (c->out_height - 1) * c->stride_h < c->in_height * c->upsample &&
         (c->out_width - 1) * c->stride_w < c->in_width * c->upsample;
}

static const float *map_pixel(const tm_edit_conv *c, const float *input, int32_t image, int32_t y,
                              int32_t x) {
  y = y * c->stride_h / c->upsample;
  x = x * c->stride_w / c->upsample;
  return input + (((int64_t)image * c->in_height + y) * c->in_width + x) * c->in_stride;
}

static void add_pixels(const tm_edit_conv *c, const layout *l, const float *input,
                       const float *residual, float *output, const tm_edit_patch *patch,
                       const float *block, tm_edit_pixel *pixels) {
  for (int32_t i = 0; i < patch->height; ++i) {
    for (int32_t j = 0; j < patch->width; ++j) {
      const int32_t y = patch->y + i, x = patch->x + j;
      const float *in =
          block ? block + i * l->down + j * l->right : map_pixel(c, input, patch->image, y, x);
      *pixels++ = (tm_edit_pixel){in, tm_out_pixel(c, output, patch->image, y, x),
                                  tm_residual_pixel(c, residual, patch->image, y, x),
                                  tm_bias(c->bias, c->bias_image, patch->image)};
    }
  }
}

/* Sums of a window tap by tap for each channel of its own. */
TM_INLINE void depthwise_patch(const tm_edit_conv *c, const tm_edit_activation activation,
                               const layout *l, const float *residual, float *output,
                               const tm_edit_patch *patch, const float *block) {
  const float *bias = tm_bias(c->bias, c->bias_image, patch->image);
  for (int32_t i = 0; i < patch->height; ++i) {
    for (int32_t j = 0; j < patch->width; ++j) {
      const float *corner = block + i * l->down + j * l->right;
      float *out = tm_out_pixel(c, output, patch->image, patch->y + i, patch->x + j);
      const float *added = tm_residual_pixel(c, residual, patch->image, patch->y + i, patch->x + j);
      for (int32_t k = 0; k < c->out_channels; k += TM_LANES) {
        const int32_t some = tm_least(TM_LANES, c->out_channels - k);
        const float *weights = c->weights + k;
        tm_vec sum = bias ? tm_load_up_to(bias + k, some) : tm_set(0.0f);
        for (int32_t y = 0; y < c->kernel_h; ++y) {
          for (int32_t x = 0; x < c->kernel_w; ++x, weights += c->in_channels) {
            const int64_t tap = y * c->dilation_h * l->row + x * c->dilation_w * l->stride;
            sum = tm_fma(tm_load(corner + tap + k), tm_load_up_to(weights, some), sum);
          }
        }
        if (added) {
          sum = tm_add(sum, tm_load_up_to(added + k, some));
        }
        tm_store_up_to(out + k, some, tm_activate(activation, c->leak, sum));
      }
    }
  }
}

/* Convolution by sums over windows, of patches of at most height x width pixels. */
static void direct(const tm_edit_conv *c, const float *input, const float *residual, float *output,
                   const tm_edit_patch *patches, int32_t count, int32_t height, int32_t width) {
  const layout l = layout_of(c, width);
  const int depthwise = is_depthwise(c), in_place = !depthwise && reads_map(c);
  const int32_t threads = tm_threads(), area = height * width;
  const int64_t floats = in_place ? 0 : (int64_t)window_rows(c, height) * l.row;
  int32_t chunk = tm_most(1, MOST_PIXELS / area);
  if (floats) {
    const int64_t fitting = MOST_GATHERED * (int64_t)(1 + threads / 4) / floats;
    chunk = fitting < (int64_t)chunk ? tm_most(1, (int32_t)fitting) : chunk;
  }
  chunk = tm_parts(count, tm_parts(count, chunk));
  const int64_t pixels_at = tm_round_up(chunk * floats * TM_FLOAT, 64);
  const int64_t offsets_at = pixels_at + (int64_t)chunk * area * (int64_t)sizeof(tm_edit_pixel);
  char *room =
      tm_edit_room(TM_ROOM_WORK, offsets_at + (int64_t)taps_of(c) * (int64_t)sizeof(int64_t));
  if (!room) {
    return;
  }
  float *gathered = (float *)room;
  tm_edit_pixel *pixels = (tm_edit_pixel *)(room + pixels_at);
  int64_t *offsets = (int64_t *)(room + offsets_at);
  for (int32_t tap = 0; tap < taps_of(c); ++tap) {
    offsets[tap] =
        tap / c->kernel_w * c->dilation_h * l.row + tap % c->kernel_w * c->dilation_w * l.stride;
  }
  const int32_t inputs = c->in_channels / c->groups, outputs = c->out_channels / c->groups;
  const tm_edit_product product = {taps_of(c), offsets,           inputs,  outputs,
                                   c->groups,  c->out_activation, c->leak, c->weights};
  const int32_t blocks = depthwise ? 0 : tm_edit_product_blocks(&product);
  const int32_t parts = in_place ? 0 : tm_parts(c->in_channels, GATHER_CHANNELS);
  for (int32_t start = 0; start < count; start += chunk) {
    const tm_edit_patch *some = patches + start;
    const int32_t number = tm_least(chunk, count - start);
    int32_t total = 0;
    for (int32_t i = 0; i < number && !depthwise; ++i) {
      add_pixels(c, &l, input, residual, output, some + i, in_place ? NULL : gathered + i * floats,
                 pixels + total);
      total += some[i].height * some[i].width;
    }
    const int32_t bands = tm_parts(total, BAND);
    TM_OMP(parallel num_threads(threads)) {
      TM_OMP(for schedule(dynamic) collapse(2))
      for (int32_t i = 0; i < number; ++i) {
        for (int32_t part = 0; part < parts; ++part) {
          const int32_t first = part * GATHER_CHANNELS;
          gather_patch(c, &l, input, some + i, first,
                       tm_least(GATHER_CHANNELS, c->in_channels - first), gathered + i * floats);
        }
      }
      if (depthwise) {
        TM_OMP(for schedule(dynamic))
        for (int32_t i = 0; i < number; ++i) {
          TM_BY_ACTIVATION(c->out_activation, depthwise_patch(c, chosen, &l, residual, output,
                                                              some + i, gathered + i * floats))
        }
      }
      TM_OMP(for schedule(dynamic) collapse(2))
      for (int32_t block = 0; block < blocks; ++block) {
        for (int32_t band = 0; band < bands; ++band) {
          tm_edit_multiply(&product, pixels + band * BAND, tm_least(BAND, total - band * BAND),
                           block);
        }
      }
    }
  }
}

/* Times in nanoseconds of one core that does 59 products a nanosecond; only their ratios matter. */
static double direct_cost(const tm_edit_conv *c, int32_t height, int32_t width) {
  const double pixels = (double)height * width;
  const double window = (double)window_rows(c, height) * window_columns(c, width);
  const double gathered =
      reads_map(c) ? 0.0 : window * c->in_channels * (c->in_activation ? 0.35 : 0.15);
  if (is_depthwise(c)) {
    return gathered + pixels * c->out_channels * (0.1 * taps_of(c) + 0.2);
  }
  const double columns = (double)c->groups * tm_group_blocks(c) * TM_COLUMNS;
  const double depth = (double)taps_of(c) * (c->in_channels / c->groups);
  /* A register block of few rows waits for weights. */
  const double rows = pixels < 6.0 ? 6.0 : pixels;
  return gathered + rows * depth * columns / 57.0 + pixels * columns * 0.2;
}

static double winograd_cost(const tm_edit_conv *c, int32_t height, int32_t width) {
  const double columns = (double)tm_group_blocks(c) * TM_COLUMNS;
  const double patches = (double)tm_parts(height, 4) * tm_parts(width, 4);
  const double gathered =
      (height + 2.0) * (width + 2.0) * c->in_channels * (c->in_activation ? 0.35 : 0.15);
  return gathered +
         patches * (36.0 * c->in_channels * columns / 55.0 + 6.0 * c->in_channels + 5.0 * columns);
}

/* Transforming the weights, once for a chunk of patches. */
static double weights_cost(const tm_edit_conv *c) {
  return 1.2 * c->in_channels * tm_group_blocks(c) * TM_COLUMNS;
}

static int by_winograd(const tm_edit_conv *c, double tiles, int32_t tile_h, int32_t tile_w) {
  if (!tm_edit_winograd_serves(c)) {
    return 0;
  }
  const double patches = tiles * tm_parts(tile_h, 4) * tm_parts(tile_w, 4);
  const double chunks = patches < 60.0 ? 1.0 : patches / 60.0;
  return tiles * winograd_cost(c, tile_h, tile_w) + chunks * weights_cost(c) <
         tiles * direct_cost(c, tile_h, tile_w);
}

double tm_edit_conv_cost(const tm_edit_conv *c, int32_t tile_h, int32_t tile_w) {
  return by_winograd(c, 16.0, tile_h, tile_w) ? winograd_cost(c, tile_h, tile_w)
                                              : direct_cost(c, tile_h, tile_w);
}

double tm_edit_conv_dense_cost(const tm_edit_conv *c) {
  const double tiles = (double)tm_parts(c->out_height, 4) * tm_parts(c->out_width, 16);
  return tiles * tm_edit_conv_cost(c, 4, 16);
}

static void compute(const tm_edit_conv *c, const float *input, const float *residual, float *output,
                    const tm_edit_tile *tiles, int32_t count, int32_t tile_h, int32_t tile_w,
                    int winograd) {
  const int32_t height = tm_least(tile_h, winograd ? 4 : PATCH);
  const int32_t width = tm_least(tile_w, winograd ? 4 : PATCH);
  const int64_t most = tm_edit_patches(c, tiles, count, tile_h, tile_w, height, width, NULL);
  tm_edit_patch *patches = tm_edit_room(TM_ROOM_LIST, most * (int64_t)sizeof *patches);
  if (!patches) {
    return;
  }
  const int32_t number =
      (int32_t)tm_edit_patches(c, tiles, count, tile_h, tile_w, height, width, patches);
  if (winograd) {
    tm_edit_winograd(c, input, residual, output, patches, number);
  } else {
    direct(c, input, residual, output, patches, number, height, width);
  }
}

void tm_edit_conv_tiles(const tm_edit_conv *c, const float *input, const float *residual,
                        float *output, const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                        int32_t tile_w) {
  if (count > 0) {
    compute(c, input, residual, output, tiles, count, tile_h, tile_w,
            by_winograd(c, count, tile_h, tile_w));
  }
}

void tm_edit_conv_dense(const tm_edit_conv *c, const float *input, const float *residual,
                        float *output, int32_t images) {
  const int winograd = by_winograd(c, images, c->out_height, c->out_width);
  for (int32_t image = 0; image < images; ++image) {
    const tm_edit_tile whole = {image, 0, 0};
    compute(c, input, residual, output, &whole, 1, c->out_height, c->out_width, winograd);
  }
}
