/* Attention of listed queries. Scores of a few keys at a time, with the running maximum and sum of
   Milakov and Gimelshein (2018), so that no row of all scores is stored. */
#include <assert.h>

#include "tm_edit_inner.h"

#define KEYS 256 /* scores of a row at once */

static_assert(KEYS % TM_COLUMNS == 0, "whole blocks of keys");

/* Queries of one image that a thread computes at once. */
typedef struct {
  int32_t first, count, image;
} group;

/* Of query i. */
static int32_t row_of(const int32_t *rows, int32_t i) {
  return rows ? rows[i] : i;
}

/* Columns [first, first + TM_COLUMNS) of a matrix [channels][keys] whose transpose is `keys`, the
   columns after the last key zeros. */
static void pack_keys(const float *keys, int64_t stride, int32_t channels, int32_t first,
                      int32_t count, float *packed) {
  const int32_t some = tm_least(TM_COLUMNS, count - first);
  for (int32_t k = 0; k < channels; ++k) {
    for (int32_t i = 0; i < some; ++i) {
      packed[i] = keys[(first + i) * stride + k];
    }
    for (int32_t i = some; i < TM_COLUMNS; ++i) {
      packed[i] = 0.0f;
    }
    packed += TM_COLUMNS;
  }
}

/* Channels [first, first + TM_COLUMNS) of all values, zeros after the last channel. */
static void pack_values(const float *values, int64_t stride, int32_t channels, int32_t first,
                        int32_t count, float *packed) {
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t v = 0; v < TM_COLUMNS; v += TM_LANES) {
      const int32_t some = channels - first - v;
      const float *from = values + i * stride + first + v;
      tm_store(packed + v, some > 0 ? tm_load_up_to(from, some) : tm_set(0.0f));
    }
    packed += TM_COLUMNS;
  }
}

TM_INLINE void start_sums(const int32_t height, tm_vec sums[TM_ROWS][TM_VECTORS]) {
  TM_UNROLL
  for (int32_t r = 0; r < height; ++r) {
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      sums[r][v] = tm_set(0.0f);
    }
  }
}

/* scores[r][TM_COLUMNS] = scale * rows[r] . columns */
TM_INLINE void score(const int32_t height, const float *const *rows, const float *columns,
                     int32_t channels, float scale, float *scores, int64_t stride) {
  tm_vec sums[TM_ROWS][TM_VECTORS];
  start_sums(height, sums);
  tm_products(height, rows, 0, columns, TM_COLUMNS, channels, sums);
  TM_UNROLL
  for (int32_t r = 0; r < height; ++r) {
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      tm_store(scores + r * stride + v * TM_LANES, tm_mul(sums[r][v], tm_set(scale)));
    }
  }
}

/* totals[r][TM_COLUMNS] = totals[r] * shrink[r] + weights[r] . values */
TM_INLINE void add_values(const int32_t height, const float *const *weights, const float *values,
                          int64_t step, int32_t keys, const float *shrink, float *totals,
                          int64_t stride) {
  tm_vec sums[TM_ROWS][TM_VECTORS];
  TM_UNROLL
  for (int32_t r = 0; r < height; ++r) {
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      sums[r][v] = tm_mul(tm_load(totals + r * stride + v * TM_LANES), tm_set(shrink[r]));
    }
  }
  tm_products(height, weights, 0, values, step, keys, sums);
  TM_UNROLL
  for (int32_t r = 0; r < height; ++r) {
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      tm_store(totals + r * stride + v * TM_LANES, sums[r][v]);
    }
  }
}

/* Turns `count` scores into e^(score - largest); returns by what earlier sums shrink. */
static float exponents(float *scores, int32_t count, float *largest, float *total) {
  const float before = *largest;
  tm_vec most = tm_set(before);
  int32_t i = 0;
  for (; i + TM_LANES <= count; i += TM_LANES) {
    most = tm_max(most, tm_load(scores + i));
  }
  float now = tm_largest(most);
  for (int32_t j = i; j < count; ++j) {
    now = scores[j] > now ? scores[j] : now;
  }
  tm_vec sum = tm_set(0.0f);
  for (i = 0; i + TM_LANES <= count; i += TM_LANES) {
    const tm_vec e = tm_exp(tm_sub(tm_load(scores + i), tm_set(now)));
    tm_store(scores + i, e);
    sum = tm_add(sum, e);
  }
  float rest = 0.0f;
  if (i < count) {
    tm_store(scores + i, tm_exp(tm_sub(tm_load(scores + i), tm_set(now))));
    for (; i < count; ++i) {
      rest += scores[i];
    }
  }
  float lanes[TM_LANES];
  tm_store(lanes, tm_exp(tm_set(before - now)));
  *largest = now;
  *total = *total * lanes[0] + tm_total(sum) + rest;
  return lanes[0];
}

typedef struct {
  const tm_edit_attend *a;
  const float *queries, *values;
  const int32_t *rows;
  float *output;
  const float *packed_keys, *packed_values; /* of the image; values NULL: as they lie */
} task;

/* One head of a group of queries. `own`: TM_ROWS * (KEYS + 16) scores, then TM_ROWS * `wide`. */
static void attend(const task *t, const group *g, int32_t head, int64_t wide, float *own) {
  const tm_edit_attend *a = t->a;
  const int64_t scores_stride = KEYS + 16;
  const float *rows[TM_ROWS], *weights[TM_ROWS];
  float largest[TM_ROWS], total[TM_ROWS], shrink[TM_ROWS];
  float *scores = own, *totals = own + TM_ROWS * scores_stride;
  memset(totals, 0, (size_t)(g->count * wide) * sizeof(float));
  for (int32_t r = 0; r < g->count; ++r) {
    rows[r] = t->queries + (int64_t)row_of(t->rows, g->first + r) * a->query_stride +
              head * a->head_channels;
    weights[r] = scores + r * scores_stride;
    largest[r] = -3.0e38f;
    total[r] = 0.0f;
  }
  const int64_t blocks = tm_parts(a->keys, TM_COLUMNS), value_blocks = wide / TM_COLUMNS;
  const float *keys = t->packed_keys + head * blocks * a->head_channels * TM_COLUMNS;
  for (int32_t first = 0; first < a->keys; first += KEYS) {
    const int32_t some = tm_least(KEYS, a->keys - first);
    for (int32_t k = 0; k < some; k += TM_COLUMNS) {
      TM_BY_HEIGHT(g->count,
                   score(tall, rows, keys, a->head_channels, a->scale, scores + k, scores_stride))
      keys += (int64_t)a->head_channels * TM_COLUMNS;
    }
    for (int32_t r = 0; r < g->count; ++r) {
      shrink[r] = exponents(scores + r * scores_stride, some, &largest[r], &total[r]);
    }
    for (int64_t block = 0; block < value_blocks; ++block) {
      const float *values;
      int64_t step = TM_COLUMNS;
      if (t->packed_values) {
        values = t->packed_values + ((head * value_blocks + block) * a->keys + first) * TM_COLUMNS;
      } else {
        step = a->value_stride;
        values = t->values + ((int64_t)g->image * a->keys + first) * step +
                 head * a->value_channels + block * TM_COLUMNS;
      }
      TM_BY_HEIGHT(g->count, add_values(tall, weights, values, step, some, shrink,
                                        totals + block * TM_COLUMNS, wide))
    }
  }
  for (int32_t r = 0; r < g->count; ++r) {
    float *out = t->output + (int64_t)row_of(t->rows, g->first + r) * a->out_stride +
                 head * a->value_channels;
    const tm_vec inverse = tm_set(1.0f / total[r]);
    for (int32_t v = 0; v < a->value_channels; v += TM_LANES) {
      tm_store_up_to(out + v, a->value_channels - v,
                     tm_mul(tm_load(totals + r * wide + v), inverse));
    }
  }
}

/* Cuts queries [first, ...) of one image into groups; returns where the next image starts. */
static int32_t image_groups(const tm_edit_attend *a, const int32_t *rows, int32_t first,
                            int32_t count, group *groups, int32_t *number) {
  const int32_t image = row_of(rows, first) / a->queries;
  int32_t end = first;
  while (end < count && row_of(rows, end) / a->queries == image) {
    ++end;
  }
  *number = 0;
  for (int32_t at = first; at < end;) {
    const int32_t height = tm_next_height(end - at);
    groups[(*number)++] = (group){at, height, image};
    at += height;
  }
  return end;
}

void tm_edit_attention(const tm_edit_attend *a, const float *queries, const float *keys,
                       const float *values, float *output, const int32_t *rows, int32_t count) {
  if (count <= 0) {
    return;
  }
  const int32_t threads = tm_threads(), heads = a->heads;
  const int32_t blocks = tm_parts(a->keys, TM_COLUMNS);
  const int32_t value_blocks = tm_parts(a->value_channels, TM_COLUMNS);
  const int64_t wide = (int64_t)value_blocks * TM_COLUMNS;
  const int64_t key_block = (int64_t)a->head_channels * TM_COLUMNS;
  const int64_t value_block = (int64_t)a->keys * TM_COLUMNS;
  /* Values whose heads are whole vectors are read where they lie. */
  const int in_place = a->value_channels % TM_COLUMNS == 0;
  const int64_t keys_floats = heads * blocks * key_block;
  const int64_t values_floats = in_place ? 0 : heads * value_blocks * value_block;
  const int64_t own = TM_ROWS * (KEYS + 16 + wide);
  group *groups = tm_edit_room(TM_ROOM_LIST, count * (int64_t)sizeof *groups);
  float *room = tm_edit_room(
      TM_ROOM_WORK, (tm_round_up(keys_floats + values_floats, 16) + threads * own) * TM_FLOAT);
  if (!groups || !room) {
    return;
  }
  float *packed_values = room + keys_floats;
  float *owned = room + tm_round_up(keys_floats + values_floats, 16);
  const task t = {a, queries, values, rows, output, room, in_place ? NULL : packed_values};
  for (int32_t at = 0; at < count;) {
    int32_t number;
    at = image_groups(a, rows, at, count, groups, &number);
    const int64_t first = (int64_t)groups->image * a->keys;
    TM_OMP(parallel num_threads(threads)) {
      TM_OMP(for schedule(dynamic) collapse(2) nowait)
      for (int32_t head = 0; head < heads; ++head) {
        for (int32_t block = 0; block < blocks; ++block) {
          pack_keys(keys + first * a->key_stride + head * a->head_channels, a->key_stride,
                    a->head_channels, block * TM_COLUMNS, a->keys,
                    room + ((int64_t)head * blocks + block) * key_block);
        }
      }
      TM_OMP(for schedule(dynamic) collapse(2))
      for (int32_t head = 0; head < heads; ++head) {
        for (int32_t block = 0; block < value_blocks; ++block) {
          if (!in_place) {
            pack_values(values + first * a->value_stride + head * a->value_channels,
                        a->value_stride, a->value_channels, block * TM_COLUMNS, a->keys,
                        packed_values + ((int64_t)head * value_blocks + block) * value_block);
          }
        }
      }
      TM_OMP(for schedule(dynamic) collapse(2))
      for (int32_t head = 0; head < heads; ++head) {
        for (int32_t i = 0; i < number; ++i) {
          attend(&t, groups + i, head, wide, owned + tm_thread() * own);
        }
      }
    }
  }
}
