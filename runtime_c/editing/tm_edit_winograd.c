/* Convolutions of 3x3 windows by F(4x4, 3x3): 36 products a channel pair and patch of 4x4 pixels
   instead of 144 (Winograd; Lavin and Gray, 2016).

   Points 0, +-3/4, +-3/2 and infinity: in float32 the error is about 1.6 times that of summing
   directly, against 4 to 8 times with the usual 0, +-1, +-2.

   Weights are transformed anew in each call, block by block in the second-level cache: that costs
   less than reading four times as many from memory, and nothing is stored twice. */
#include <assert.h>

#include "tm_edit_conv.h"

/* Interpolation points +-A, +-B and what follows from them. */
#define A 0.75f
#define B 1.5f
#define AA (A * A)
#define BB (B * B)

#define POINTS 36
#define DEPTH 32 /* input channels of a block of transformed weights: 36 blocks fit the cache */
#define MOST_PATCHES 72
#define MOST_RUN 8
#define STRIP_COLUMNS (4 * MOST_RUN + 2)
#define STRIP_CHANNELS 32

static_assert(DEPTH % TM_SLICE == 0, "a block holds whole slices");
static_assert(MOST_PATCHES % TM_ROWS == 0, "full chunks have full register blocks");

/* Floats from one point to the next: a line more than the data, so that the 36 places that a
   transformed patch or weight goes to do not share a set of the first-level cache. */
#define WEIGHT_STEP (DEPTH * TM_COLUMNS + 16)
#define SUM_STEP(patches) ((int64_t)(patches) * TM_COLUMNS + 16)
#define PATCH_STEP(patches) ((int64_t)(patches) * DEPTH + 16)

int tm_edit_winograd_serves(const tm_edit_conv *c) {
  return c->kernel_h == 3 && c->kernel_w == 3 && c->stride_h == 1 && c->stride_w == 1 &&
         c->dilation_h == 1 && c->dilation_w == 1 && c->groups == 1;
}

/* B^T d */
TM_INLINE void transform_input(const tm_vec d[6], tm_vec t[6]) {
  const tm_vec aa = tm_set(-AA), bb = tm_set(-BB), sum = tm_set(-(AA + BB)), both = tm_set(AA * BB);
  const tm_vec even_a = tm_fma(bb, d[2], d[4]), odd_a = tm_fma(bb, d[1], d[3]);
  const tm_vec even_b = tm_fma(aa, d[2], d[4]), odd_b = tm_fma(aa, d[1], d[3]);
  t[0] = tm_fma(both, d[0], tm_fma(sum, d[2], d[4]));
  t[1] = tm_fma(tm_set(A), odd_a, even_a);
  t[2] = tm_fma(tm_set(-A), odd_a, even_a);
  t[3] = tm_fma(tm_set(B), odd_b, even_b);
  t[4] = tm_fma(tm_set(-B), odd_b, even_b);
  t[5] = tm_fma(both, d[1], tm_fma(sum, d[3], d[5]));
}

/* G g */
TM_INLINE void transform_weights(const tm_vec g[3], tm_vec t[6]) {
  const float of_a = 1.0f / (2.0f * AA * (AA - BB)), of_b = 1.0f / (2.0f * BB * (BB - AA));
  const tm_vec even_a = tm_fma(tm_set(AA * of_a), g[2], tm_mul(tm_set(of_a), g[0]));
  const tm_vec even_b = tm_fma(tm_set(BB * of_b), g[2], tm_mul(tm_set(of_b), g[0]));
  t[0] = tm_mul(tm_set(1.0f / (AA * BB)), g[0]);
  t[1] = tm_fma(tm_set(A * of_a), g[1], even_a);
  t[2] = tm_fma(tm_set(-A * of_a), g[1], even_a);
  t[3] = tm_fma(tm_set(B * of_b), g[1], even_b);
  t[4] = tm_fma(tm_set(-B * of_b), g[1], even_b);
  t[5] = g[2];
}

/* A^T m */
TM_INLINE void transform_output(const tm_vec m[6], tm_vec y[4]) {
  const tm_vec even_a = tm_add(m[1], m[2]), odd_a = tm_sub(m[1], m[2]);
  const tm_vec even_b = tm_add(m[3], m[4]), odd_b = tm_sub(m[3], m[4]);
  y[0] = tm_add(m[0], tm_add(even_a, even_b));
  y[1] = tm_fma(tm_set(B), odd_b, tm_mul(tm_set(A), odd_a));
  y[2] = tm_fma(tm_set(BB), even_b, tm_mul(tm_set(AA), even_a));
  y[3] = tm_fma(tm_set(B * BB), odd_b, tm_fma(tm_set(A * AA), odd_a, m[5]));
}

/* A block [36][depth][TM_COLUMNS] of transformed weights. */
static void weights_of_block(const float *packed, int32_t depth, float *block) {
  for (int32_t first = 0; first < depth; first += TM_SLICE) {
    const int32_t channels = tm_least(TM_SLICE, depth - first);
    const float *slice = packed + (int64_t)first * 9 * TM_COLUMNS;
    for (int32_t i = 0; i < channels * TM_COLUMNS; i += TM_LANES) {
      float *place = block + (int64_t)first * TM_COLUMNS + i;
      /* The next slice, in the order in which it lies: nine streams of short pieces are more than
         the processor foresees. */
      TM_UNROLL
      for (int32_t ahead = 0; ahead < 9; ++ahead) {
        TM_PREFETCH(slice + (int64_t)9 * (channels * TM_COLUMNS + i) + ahead * TM_LANES);
      }
      tm_vec half[3][6];
      TM_UNROLL
      for (int32_t x = 0; x < 3; ++x) {
        tm_vec g[3];
        TM_UNROLL
        for (int32_t y = 0; y < 3; ++y) {
          g[y] = tm_load(slice + (int64_t)(3 * y + x) * channels * TM_COLUMNS + i);
        }
        transform_weights(g, half[x]);
      }
      TM_UNROLL
      for (int32_t y = 0; y < 6; ++y) {
        const tm_vec g[3] = {half[0][y], half[1][y], half[2][y]};
        tm_vec t[6];
        transform_weights(g, t);
        TM_UNROLL
        for (int32_t x = 0; x < 6; ++x) {
          tm_store(place + (int64_t)(6 * y + x) * WEIGHT_STEP, t[x]);
        }
      }
    }
  }
}

/* Transforms the patches of a strip, `channels` (of which the last vector may hold less than
   TM_LANES, the strip zeros there) to block[36][patches][DEPTH]. */
static void strip_to_points(const float *strip, int32_t columns, int32_t channels, int32_t run,
                            float *block, int64_t step) {
  for (int32_t i = 0; i < run; ++i) {
    for (int32_t first = 0; first < channels; first += TM_LANES) {
      const float *corner = strip + (int64_t)4 * i * channels + first;
      float *place = block + (int64_t)i * DEPTH + first;
      tm_vec half[6][6];
      TM_UNROLL
      for (int32_t x = 0; x < 6; ++x) {
        tm_vec d[6];
        TM_UNROLL
        for (int32_t y = 0; y < 6; ++y) {
          d[y] = tm_load(corner + ((int64_t)y * columns + x) * channels);
        }
        transform_input(d, half[x]);
      }
      TM_UNROLL
      for (int32_t y = 0; y < 6; ++y) {
        const tm_vec d[6] = {half[0][y], half[1][y], half[2][y],
                             half[3][y], half[4][y], half[5][y]};
        tm_vec t[6];
        transform_input(d, t);
        TM_UNROLL
        for (int32_t x = 0; x < 6; ++x) {
          tm_store(place + (int64_t)(6 * y + x) * step, t[x]);
        }
      }
    }
  }
}

/* out[r][TM_COLUMNS] (+)= sum over k < depth of rows[r * DEPTH + k] columns[k][TM_COLUMNS] */
TM_INLINE void multiply_rows(const int32_t height, const float *rows, const float *columns,
                             int32_t depth, int fresh, float *out) {
  tm_vec sums[TM_ROWS][TM_VECTORS];
  TM_UNROLL
  for (int32_t r = 0; r < height; ++r) {
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      sums[r][v] = fresh ? tm_set(0.0f) : tm_load(out + r * TM_COLUMNS + v * TM_LANES);
    }
  }
  int32_t k = 0;
  for (; k + 4 <= depth; k += 4) {
    TM_UNROLL
    for (int32_t u = 0; u < 4; ++u) {
      tm_vec column[TM_VECTORS];
      TM_UNROLL
      for (int32_t v = 0; v < TM_VECTORS; ++v) {
        column[v] = tm_load(columns + u * TM_COLUMNS + v * TM_LANES);
      }
      TM_UNROLL
      for (int32_t r = 0; r < height; ++r) {
        const tm_vec row = tm_set(rows[r * DEPTH + u]);
        TM_UNROLL
        for (int32_t v = 0; v < TM_VECTORS; ++v) {
          sums[r][v] = tm_fma(row, column[v], sums[r][v]);
        }
      }
    }
    rows += 4;
    columns += 4 * TM_COLUMNS;
  }
  for (; k < depth; ++k) {
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      const tm_vec column = tm_load(columns + v * TM_LANES);
      TM_UNROLL
      for (int32_t r = 0; r < height; ++r) {
        sums[r][v] = tm_fma(tm_set(rows[r * DEPTH]), column, sums[r][v]);
      }
    }
    ++rows;
    columns += TM_COLUMNS;
  }
  TM_UNROLL
  for (int32_t r = 0; r < height; ++r) {
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      tm_store(out + r * TM_COLUMNS + v * TM_LANES, sums[r][v]);
    }
  }
}

/* sums[36][patches][TM_COLUMNS] (+)= block[36][patches][DEPTH] weights[36][depth][TM_COLUMNS] */
static void multiply_points(const float *block, const float *weights, int32_t patches,
                            int32_t depth, int fresh, float *sums) {
  for (int32_t point = 0; point < POINTS; ++point) {
    const float *rows = block + (int64_t)point * PATCH_STEP(patches);
    const float *columns = weights + (int64_t)point * WEIGHT_STEP;
    float *out = sums + (int64_t)point * SUM_STEP(patches);
    for (int32_t done = 0; done < patches;) {
      const int32_t height = tm_next_height(patches - done);
      TM_BY_HEIGHT(height, multiply_rows(tall, rows, columns, depth, fresh, out))
      rows += (int64_t)height * DEPTH;
      out += (int64_t)height * TM_COLUMNS;
      done += height;
    }
  }
}

/* Writes one patch's channels [first, first + count), count at most TM_LANES. */
TM_INLINE void write_patch(const tm_edit_conv *c, const tm_edit_activation activation,
                           const tm_edit_patch *patch, const float *sums, int64_t step,
                           const float *residual, float *output, int32_t first, int32_t count) {
  float *out = tm_out_pixel(c, output, patch->image, patch->y, patch->x) + first;
  const int64_t out_row = tm_out_row(c);
  for (int32_t y = 0; y < patch->height; ++y) {
    for (int32_t x = 0; x < patch->width; ++x) {
      TM_PREFETCH_WRITE(out + y * out_row + (int64_t)x * c->out_stride);
    }
  }
  tm_vec half[6][4];
  TM_UNROLL
  for (int32_t x = 0; x < 6; ++x) {
    tm_vec m[6];
    TM_UNROLL
    for (int32_t y = 0; y < 6; ++y) {
      m[y] = tm_load(sums + (int64_t)(6 * y + x) * step);
    }
    transform_output(m, half[x]);
  }
  const float *biases = tm_bias(c->bias, c->bias_image, patch->image);
  const tm_vec bias = biases ? tm_load_up_to(biases + first, count) : tm_set(0.0f);
  tm_vec results[4][4];
  TM_UNROLL
  for (int32_t y = 0; y < 4; ++y) {
    const tm_vec m[6] = {half[0][y], half[1][y], half[2][y], half[3][y], half[4][y], half[5][y]};
    transform_output(m, results[y]);
  }
  const float *added = tm_residual_pixel(c, residual, patch->image, patch->y, patch->x);
  const int64_t added_stride = tm_residual_stride(c), added_row = c->out_width * added_stride;
  for (int32_t y = 0; y < patch->height; ++y) {
    for (int32_t x = 0; x < patch->width; ++x) {
      tm_vec value = tm_add(results[y][x], bias);
      if (added) {
        value =
            tm_add(value, tm_load_up_to(added + y * added_row + x * added_stride + first, count));
      }
      value = tm_activate(activation, c->leak, value);
      tm_store_up_to(out + y * out_row + (int64_t)x * c->out_stride, count, value);
    }
  }
}

static void write_patches(const tm_edit_conv *c, const tm_edit_patch *patches, int32_t count,
                          const float *sums, const float *residual, float *output, int32_t first) {
  const int64_t step = SUM_STEP(count);
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t v = 0; v < TM_COLUMNS && first + v < c->out_channels; v += TM_LANES) {
      const int32_t channels = tm_least(TM_LANES, c->out_channels - first - v);
      const float *place = sums + (int64_t)i * TM_COLUMNS + v;
      TM_BY_ACTIVATION(c->out_activation, write_patch(c, chosen, patches + i, place, step, residual,
                                                      output, first + v, channels))
    }
  }
}

/* How many patches from the first lie side by side, each 4 wide but the last. */
static int32_t run_of(const tm_edit_patch *patches, int32_t count) {
  int32_t run = 1;
  while (run < count && run < MOST_RUN && patches[run].image == patches[0].image &&
         patches[run].y == patches[0].y && patches[run].x == patches[0].x + 4 * run &&
         patches[run - 1].width == 4) {
    ++run;
  }
  return run;
}

/* Transforms `run` patches side by side in channels [first, first + channels) to
   block[36][patches][DEPTH]. */
static void run_to_points(const tm_edit_conv *c, const float *input, const tm_edit_patch *patch,
                          int32_t run, int32_t first, int32_t channels, float *block,
                          int64_t step) {
  float strip[6 * STRIP_COLUMNS * STRIP_CHANNELS];
  const int32_t columns = 4 * run + 2;
  for (int32_t done = 0; done < channels; done += STRIP_CHANNELS) {
    const int32_t some = tm_least(STRIP_CHANNELS, channels - done);
    const int32_t width = (int32_t)tm_round_up((int64_t)some, TM_LANES);
    const tm_edit_window window = {
        patch->image, patch->y - c->pad_top, patch->x - c->pad_left, 6, columns, 1, 1, first + done,
        some};
    tm_edit_gather(c, input, &window, strip, width, (int64_t)columns * width);
    strip_to_points(strip, columns, width, run, block + done, step);
  }
}

void tm_edit_winograd(const tm_edit_conv *c, const float *input, const float *residual,
                      float *output, const tm_edit_patch *patches, int32_t count) {
  const int32_t threads = tm_threads();
  const int32_t blocks = tm_group_blocks(c), depths = tm_parts(c->in_channels, DEPTH);
  const int32_t chunks = tm_parts(count, MOST_PATCHES);
  const int32_t most = tm_parts(count, chunks); /* patches of a chunk */
  /* Chunks that are in work at once: enough blocks for every thread. */
  const int32_t together = tm_least(chunks, tm_most(1, tm_parts(3 * threads, blocks)));
  const int64_t inputs = (int64_t)depths * POINTS * PATCH_STEP(most);
  const int64_t weights = (int64_t)POINTS * WEIGHT_STEP, sums = POINTS * SUM_STEP(most);
  float *room =
      tm_edit_room(TM_ROOM_WORK, (together * inputs + threads * (weights + sums)) * TM_FLOAT);
  if (!room) {
    return;
  }
  float *points = room, *own = room + together * inputs;
  TM_OMP(parallel num_threads(threads)) {
    float *block = own + tm_thread() * (weights + sums), *totals = block + weights;
    for (int32_t start = 0; start < chunks; start += together) {
      const int32_t some = tm_least(together, chunks - start);
      TM_OMP(for schedule(dynamic) collapse(2))
      for (int32_t i = 0; i < some; ++i) {
        for (int32_t depth = 0; depth < depths; ++depth) {
          const int32_t from = (int32_t)((int64_t)count * (start + i) / chunks);
          const int32_t to = (int32_t)((int64_t)count * (start + i + 1) / chunks);
          const int64_t step = PATCH_STEP(to - from);
          const int32_t first = depth * DEPTH, channels = tm_least(DEPTH, c->in_channels - first);
          float *place = points + i * inputs + (int64_t)depth * POINTS * step;
          for (int32_t at = from; at < to;) {
            const int32_t run = run_of(patches + at, to - at);
            run_to_points(c, input, patches + at, run, first, channels,
                          place + (int64_t)(at - from) * DEPTH, step);
            at += run;
          }
        }
      }
      TM_OMP(for schedule(dynamic) collapse(2))
      for (int32_t out = 0; out < blocks; ++out) {
        for (int32_t i = 0; i < some; ++i) {
          const int32_t from = (int32_t)((int64_t)count * (start + i) / chunks);
          const int32_t to = (int32_t)((int64_t)count * (start + i + 1) / chunks);
          const float *packed = c->weights + out * tm_block_floats(c);
          for (int32_t depth = 0; depth < depths; ++depth) {
            const int32_t channels = tm_least(DEPTH, c->in_channels - depth * DEPTH);
            weights_of_block(packed + (int64_t)depth * DEPTH * 9 * TM_COLUMNS, channels, block);
            multiply_points(points + i * inputs + (int64_t)depth * POINTS * PATCH_STEP(to - from),
                            block, to - from, channels, depth == 0, totals);
          }
          write_patches(c, patches + from, to - from, totals, residual, output, out * TM_COLUMNS);
        }
      }
    }
  }
}
