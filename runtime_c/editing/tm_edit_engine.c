#include "tm_edit_engine.h"
#include "tm_edit_pixels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { SIZES = 8, ROWS = 0, FULL_TILE = 16 };
#define CHUNK ((size_t)1 << 22)

typedef struct {
  int32_t size, count, capacity, ready;
  tm_edit_tile *tiles; /* for size ROWS: a pixel each */
  int32_t *rows;
} list;

typedef struct {
  uint8_t *pixels, *columns; /* active pixels; the same, half spread */
  int64_t active;
  int32_t top, bottom, left, right; /* all active pixels lie in [top, bottom) x [left, right) */
  list lists[SIZES], full[SIZES];
} mask;

typedef struct {
  char *data;
  size_t size, used;
} chunk;

/* What some tiles or rows of a value held before. */
typedef struct {
  int32_t value, size, count;
  tm_edit_tile *tiles;
  float *saved;
} entry;

/* What there was before an edit; `kept`: the maps themselves, where the edit computed all. */
typedef struct {
  int32_t entries, chunks;
  size_t used; /* of the last of these chunks */
  char *norms;
  float *kept;
} level;

struct tm_edit_context {
  const tm_edit_program *program;
  const float *weights;
  float *kept, *scratch, *packed;
  int64_t *packed_at; /* of each phase */
  float *scale, *shift;
  double *sum, *square;
  mask *masks;
  uint8_t *written;  /* of each store: whether a layer writes it */
  int32_t *entry_of; /* of each value in this run; -1: none */
  chunk *chunks;
  int32_t chunks_count, chunks_used, chunks_capacity;
  entry *entries;
  int32_t entries_count, entries_capacity;
  level *levels;
  int32_t levels_count, levels_capacity;
  float **spares; /* blocks as large as `kept` that are free */
  int32_t spares_count, spares_capacity;
  const float *before; /* in a run that computes all: the maps as they were */
  int32_t ready;
};

static void *make(size_t bytes) {
  size_t room = (bytes + 63) / 64 * 64;
  return aligned_alloc(64, room == 0 ? 64 : room);
}

/* Room for one more element; 0 where there is no memory. */
static int grow(void **array, int32_t *capacity, int32_t count, size_t size) {
  if (count < *capacity) {
    return 1;
  }
  int32_t wanted = *capacity == 0 ? 64 : *capacity * 2;
  void *larger = realloc(*array, (size_t)wanted * size);
  if (larger == NULL) {
    return 0;
  }
  *array = larger;
  *capacity = wanted;
  return 1;
}

void tm_edit_threads(int32_t threads) {
#ifdef _OPENMP
  omp_set_num_threads(threads);
#else
  (void)threads;
#endif
}

/* -- values ---------------------------------------------------------------------------------- */

static const tm_edit_value *value_of(const tm_edit_context *x, int32_t value) {
  return &x->program->values[value];
}

float *tm_edit_map(tm_edit_context *x, int32_t value) {
  const tm_edit_value *v = value_of(x, value);
  const tm_edit_store *store = &x->program->stores[v->store];
  float *base = store->kind == TM_EDIT_KEPT ? x->kept : x->scratch;
  if (store->kind == TM_EDIT_CONSTANT) {
    base = (float *)(uintptr_t)x->weights; /* never written */
  }
  return base + store->place + v->offset;
}

int32_t tm_edit_stride(tm_edit_context *x, int32_t value) {
  return value_of(x, value)->stride;
}

static int is_scratch(const tm_edit_context *x, int32_t value) {
  return x->program->stores[value_of(x, value)->store].kind == TM_EDIT_SCRATCH;
}

static tm_edit_shape shape_of(const tm_edit_context *x, int32_t value) {
  const tm_edit_value *v = value_of(x, value);
  tm_edit_shape shape = {v->height, v->width, v->channels, TM_EDIT_NONE, 0.0f};
  return shape;
}

/* A value read at the pixels of `output`, broadcast where it is smaller. */
static tm_edit_operand operand_of(tm_edit_context *x, int32_t value, int32_t output) {
  const tm_edit_value *v = value_of(x, value), *y = value_of(x, output);
  tm_edit_operand operand = {
      tm_edit_map(x, value), v->shared ? 0 : (int64_t)v->height * v->width * v->stride,
      v->height == 1 && y->height > 1 ? 0 : (int64_t)v->width * v->stride,
      v->width == 1 && y->width > 1 ? 0 : v->stride, v->channels == 1 && y->channels > 1 ? 0 : 1};
  return operand;
}

/* -- masks and tiles ------------------------------------------------------------------------- */

const uint8_t *tm_edit_active(tm_edit_context *x, int32_t value) {
  return x->masks[value_of(x, value)->mask].pixels;
}

/* Counts the active pixels and finds their bounds; forgets the lists of the last run. */
static void settle(tm_edit_context *x, int32_t index) {
  mask *m = &x->masks[index];
  int32_t height = x->program->masks[index].height, width = x->program->masks[index].width;
  m->active = 0;
  m->top = height;
  m->left = width;
  m->bottom = m->right = 0;
  for (int32_t r = 0; r < x->program->images * height; ++r) {
    const uint8_t *row = m->pixels + (int64_t)r * width;
    const uint8_t *found = memchr(row, 1, (size_t)width);
    if (found == NULL) {
      continue;
    }
    int32_t first = (int32_t)(found - row), last = width, count = 0;
    while (row[last - 1] == 0) {
      --last;
    }
    for (int32_t i = first; i < last; ++i) {
      count += row[i];
    }
    int32_t y = r % height;
    m->active += count;
    m->top = y < m->top ? y : m->top;
    m->bottom = y + 1 > m->bottom ? y + 1 : m->bottom;
    m->left = first < m->left ? first : m->left;
    m->right = last > m->right ? last : m->right;
  }
  for (int32_t i = 0; i < SIZES; ++i) {
    m->lists[i].ready = 0;
  }
}

/* Fills a list with the tiles that hold an active pixel, or with all tiles. */
static int fill(tm_edit_context *x, int32_t index, list *l, int32_t size, int full) {
  const mask *m = &x->masks[index];
  int32_t height = x->program->masks[index].height, width = x->program->masks[index].width;
  int32_t side = size == ROWS ? 1 : size;
  int32_t top = full ? 0 : m->top / side * side, bottom = full ? height : m->bottom;
  int32_t left = full ? 0 : m->left / side * side, right = full ? width : m->right;
  l->size = size;
  l->count = 0;
  for (int32_t n = 0; n < x->program->images; ++n) {
    for (int32_t y = top; y < bottom; y += side) {
      int32_t below = y + side < height ? y + side : height;
      for (int32_t c = left; c < right; c += side) {
        int32_t beside = c + side < width ? c + side : width;
        int found = full;
        for (int32_t r = y; !found && r < below; ++r) {
          const uint8_t *row = m->pixels + ((int64_t)n * height + r) * width;
          found = memchr(row + c, 1, (size_t)(beside - c)) != NULL;
        }
        if (!found) {
          continue;
        }
        int32_t room = l->capacity;
        if (!grow((void **)&l->tiles, &l->capacity, l->count, sizeof *l->tiles)) {
          return 0;
        }
        if (size == ROWS && l->capacity != room) {
          int32_t *rows = realloc(l->rows, (size_t)l->capacity * sizeof *rows);
          if (rows == NULL) {
            return 0;
          }
          l->rows = rows;
        }
        tm_edit_tile tile = {n, y, c};
        l->tiles[l->count] = tile;
        if (size == ROWS) {
          l->rows[l->count] = (n * height + y) * width + c;
        }
        ++l->count;
      }
    }
  }
  l->ready = 1;
  return 1;
}

/* The list of a tile size, made when it is first asked for; NULL: no memory. */
static const list *list_of(tm_edit_context *x, int32_t index, int32_t size, int full) {
  list *lists = full ? x->masks[index].full : x->masks[index].lists;
  list *free_one = NULL;
  for (int32_t i = 0; i < SIZES; ++i) {
    if (lists[i].ready && lists[i].size == size) {
      return &lists[i];
    }
    if (!lists[i].ready && free_one == NULL) {
      free_one = &lists[i];
    }
  }
  if (free_one == NULL) {
    free_one = &lists[SIZES - 1];
  }
  return fill(x, index, free_one, size, full) ? free_one : NULL;
}

/* target |= what reads active pixels of source. */
static void spread(tm_edit_context *x, const tm_edit_spread *s) {
  const tm_edit_program *p = x->program;
  mask *to = &x->masks[s->target];
  const mask *from = &x->masks[s->source];
  const tm_edit_mask *size = &p->masks[s->target], *origin = &p->masks[s->source];
  if (from->active == 0) {
    return;
  }
  int64_t area = (int64_t)size->height * size->width;
  for (int32_t n = 0; n < p->images; ++n) {
    uint8_t *out = to->pixels + n * area;
    const uint8_t *in = from->pixels + (int64_t)n * origin->height * origin->width;
    if (s->rows == TM_EDIT_WHOLE) {
      if (memchr(in, 1, (size_t)origin->height * (size_t)origin->width) != NULL) {
        memset(out, 1, (size_t)area);
      }
      continue;
    }
    if (s->rows == TM_EDIT_POINT) { /* an axis of one place is broadcast */
      for (int32_t y = 0; y < size->height; ++y) {
        const uint8_t *row = in + (int64_t)(origin->height == 1 ? 0 : y) * origin->width;
        for (int32_t c = 0; c < size->width; ++c) {
          out[(int64_t)y * size->width + c] |= row[origin->width == 1 ? 0 : c];
        }
      }
      continue;
    }
    const tm_edit_axis *rows = &p->axes[s->rows], *columns = &p->axes[s->columns];
    for (int32_t y = 0; y < size->height; ++y) {
      uint8_t *half = to->columns;
      int any = 0;
      for (int32_t k = 0; k < rows->taps; ++k) {
        int32_t place = rows->places[(int64_t)y * rows->taps + k];
        if (place < from->top || place >= from->bottom) {
          continue;
        }
        const uint8_t *row = in + (int64_t)place * origin->width;
        if (!any) {
          memcpy(half, row, (size_t)origin->width);
        } else {
          for (int32_t c = 0; c < origin->width; ++c) {
            half[c] |= row[c];
          }
        }
        any = 1;
      }
      if (!any || memchr(half, 1, (size_t)origin->width) == NULL) {
        continue;
      }
      for (int32_t c = 0; c < size->width; ++c) {
        const int32_t *places = columns->places + (int64_t)c * columns->taps;
        uint8_t found = 0;
        for (int32_t k = 0; k < columns->taps; ++k) {
          found |= places[k] < 0 ? 0 : half[places[k]];
        }
        out[(int64_t)y * size->width + c] |= found;
      }
    }
  }
}

/* Grows the active pixels by `by` in each direction. */
static void dilate(uint8_t *pixels, uint8_t *spare, int32_t height, int32_t width, int32_t by) {
  for (int32_t turn = 0; turn < by; ++turn) {
    memcpy(spare, pixels, (size_t)height * (size_t)width);
    for (int32_t y = 0; y < height; ++y) {
      for (int32_t c = 0; c < width; ++c) {
        if (spare[(int64_t)y * width + c] == 0) {
          continue;
        }
        for (int32_t r = y > 0 ? y - 1 : 0; r <= y + 1 && r < height; ++r) {
          int32_t first = c > 0 ? c - 1 : 0, last = c + 1 < width ? c + 1 : width - 1;
          memset(pixels + (int64_t)r * width + first, 1, (size_t)(last - first + 1));
        }
      }
    }
  }
}

/* The input's active pixels at another size. */
static void scale_mask(tm_edit_context *x, int32_t index, int32_t source) {
  const tm_edit_mask *size = &x->program->masks[index], *origin = &x->program->masks[source];
  for (int32_t n = 0; n < x->program->images; ++n) {
    const uint8_t *in = x->masks[source].pixels + (int64_t)n * origin->height * origin->width;
    uint8_t *out = x->masks[index].pixels + (int64_t)n * size->height * size->width;
    for (int32_t y = 0; y < origin->height; ++y) {
      int32_t r0 = (int32_t)((int64_t)y * size->height / origin->height);
      int32_t r1 = (int32_t)(((int64_t)(y + 1) * size->height - 1) / origin->height);
      for (int32_t c = 0; c < origin->width; ++c) {
        if (in[(int64_t)y * origin->width + c] == 0) {
          continue;
        }
        int32_t c0 = (int32_t)((int64_t)c * size->width / origin->width);
        int32_t c1 = (int32_t)(((int64_t)(c + 1) * size->width - 1) / origin->width);
        for (int32_t r = r0; r <= r1; ++r) {
          memset(out + (int64_t)r * size->width + c0, 1, (size_t)(c1 - c0 + 1));
        }
      }
    }
    dilate(out, x->masks[index].columns, size->height, size->width, 1);
  }
}

static void spread_all(tm_edit_context *x, const tm_edit_options *options) {
  const tm_edit_program *p = x->program;
  int32_t origin = p->values[p->input].mask;
  for (int32_t i = 0; i < p->masks_count; ++i) {
    if (i == origin) {
      continue;
    }
    int64_t area = (int64_t)p->masks[i].height * p->masks[i].width;
    memset(x->masks[i].pixels, 0, (size_t)(area * p->images));
    if (options->fast && p->masks[i].pyramid) {
      scale_mask(x, i, origin);
    }
    settle(x, i);
  }
  int32_t pending = -1;
  for (int32_t i = 0; i < p->spreads_count; ++i) {
    const tm_edit_spread *s = &p->spreads[i];
    if (options->fast && p->masks[s->target].pyramid && s->rows != TM_EDIT_WHOLE) {
      continue;
    }
    if (pending >= 0 && pending != s->target) {
      settle(x, pending);
    }
    pending = s->target;
    spread(x, s);
  }
  if (pending >= 0) {
    settle(x, pending);
  }
}

/* -- the undo log ---------------------------------------------------------------------------- */

static void *log_room(tm_edit_context *x, size_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  while (x->chunks_used > 0 || x->chunks_count > 0) {
    if (x->chunks_used > 0) {
      chunk *last = &x->chunks[x->chunks_used - 1];
      if (last->used + bytes <= last->size) {
        void *found = last->data + last->used;
        last->used += bytes;
        return found;
      }
    }
    if (x->chunks_used == x->chunks_count) {
      break;
    }
    chunk *next = &x->chunks[x->chunks_used];
    if (next->size < bytes) { /* too small for this: a larger one in its place */
      void *data = make(bytes);
      if (data == NULL) {
        return NULL;
      }
      free(next->data);
      next->data = data;
      next->size = bytes;
    }
    next->used = 0;
    ++x->chunks_used;
  }
  if (!grow((void **)&x->chunks, &x->chunks_capacity, x->chunks_count, sizeof *x->chunks)) {
    return NULL;
  }
  chunk fresh = {NULL, bytes > CHUNK ? bytes : CHUNK, bytes};
  fresh.data = make(fresh.size);
  if (fresh.data == NULL) {
    return NULL;
  }
  x->chunks[x->chunks_count++] = fresh;
  x->chunks_used = x->chunks_count;
  return fresh.data;
}

/* Keeps what the tiles of a list hold. */
static int save(tm_edit_context *x, int32_t value, const list *l) {
  const tm_edit_value *v = value_of(x, value);
  if (!grow((void **)&x->entries, &x->entries_capacity, x->entries_count, sizeof *x->entries)) {
    return 0;
  }
  int32_t side = l->size == ROWS ? 1 : l->size;
  entry e = {value, side, l->count, NULL, NULL};
  e.tiles = log_room(x, (size_t)l->count * sizeof *e.tiles);
  e.saved =
      log_room(x, (size_t)l->count * (size_t)(side * side) * (size_t)v->channels * sizeof *e.saved);
  if (e.tiles == NULL || e.saved == NULL) {
    return 0;
  }
  memcpy(e.tiles, l->tiles, (size_t)l->count * sizeof *e.tiles);
  tm_edit_shape shape = shape_of(x, value);
  tm_edit_save_tiles(&shape, tm_edit_map(x, value), v->stride, e.saved, e.tiles, e.count, side,
                     side);
  x->entry_of[value] = x->entries_count;
  x->entries[x->entries_count++] = e;
  return 1;
}

static size_t norm_bytes(const tm_edit_context *x) {
  size_t count = (size_t)x->program->norm_channels * (size_t)x->program->images;
  return count * 2 * (sizeof(float) + sizeof(double));
}

static void copy_norms(tm_edit_context *x, char *to, const char *from) {
  size_t count = (size_t)x->program->norm_channels * (size_t)x->program->images;
  void *blocks[] = {x->sum, x->square, x->scale, x->shift};
  size_t sizes[] = {sizeof(double), sizeof(double), sizeof(float), sizeof(float)};
  for (int i = 0; i < 4; ++i) {
    if (to != NULL) {
      memcpy(to, blocks[i], count * sizes[i]);
      to += count * sizes[i];
    } else {
      memcpy(blocks[i], from, count * sizes[i]);
      from += count * sizes[i];
    }
  }
}

static int begin_level(tm_edit_context *x) {
  if (!grow((void **)&x->levels, &x->levels_capacity, x->levels_count, sizeof *x->levels)) {
    return 0;
  }
  level l = {x->entries_count, x->chunks_used,
             x->chunks_used > 0 ? x->chunks[x->chunks_used - 1].used : 0, NULL, NULL};
  l.norms = log_room(x, norm_bytes(x));
  if (l.norms == NULL) {
    return 0;
  }
  copy_norms(x, l.norms, NULL);
  x->levels[x->levels_count++] = l;
  return 1;
}

int32_t tm_edit_undo(tm_edit_context *x) {
  if (x->levels_count == 0) {
    return TM_EDIT_NOTHING;
  }
  level l = x->levels[--x->levels_count];
  while (x->entries_count > l.entries) {
    const entry *e = &x->entries[--x->entries_count];
    tm_edit_shape shape = shape_of(x, e->value);
    tm_edit_restore_tiles(&shape, tm_edit_map(x, e->value), value_of(x, e->value)->stride, e->saved,
                          e->tiles, e->count, e->size, e->size);
  }
  if (l.kept != NULL) {
    x->spares[x->spares_count++] = x->kept; /* there is room: see whole_run */
    x->kept = l.kept;
  }
  copy_norms(x, NULL, l.norms);
  x->chunks_used = l.chunks;
  if (l.chunks > 0) {
    x->chunks[l.chunks - 1].used = l.used;
  }
  return TM_EDIT_OK;
}

/* -- normalisation --------------------------------------------------------------------------- */

/* Scale and shift from the sums, put in force by `write`. Else how far they are from those in
   force: the greatest move of a mean, in deviations, and change of a deviation, relative. */
static double finish_norm(tm_edit_context *x, int32_t index, int write) {
  const tm_edit_norm *norm = &x->program->norms[index];
  int32_t width = norm->channels / norm->groups;
  double drift = 0.0;
  const tm_edit_value *v = value_of(x, x->program->parts[norm->first_part].value);
  int64_t pixels = (int64_t)v->height * v->width;
  for (int32_t n = 0; n < x->program->images; ++n) {
    int64_t at = norm->place * x->program->images + (int64_t)n * norm->channels;
    for (int32_t g = 0; g < norm->groups; ++g) {
      double sum = 0.0, square = 0.0, count = (double)pixels * width;
      for (int32_t c = g * width; c < (g + 1) * width; ++c) {
        sum += x->sum[at + c];
        square += x->square[at + c];
      }
      double mean = sum / count, variance = square / count - mean * mean;
      double inverse = 1.0 / sqrt((variance > 0.0 ? variance : 0.0) + (double)norm->epsilon);
      for (int32_t c = g * width; c < (g + 1) * width; ++c) {
        double scale = (double)x->weights[norm->scale + c] * inverse;
        double shift = (double)x->weights[norm->shift + c] - mean * scale;
        double factor = x->weights[norm->scale + c], old = x->scale[at + c];
        if (!write && factor != 0.0 && old != 0.0) {
          double before = (x->weights[norm->shift + c] - x->shift[at + c]) / old;
          double moved = fabs((mean - before) * old / factor), change = fabs(scale / old - 1.0);
          drift = moved > drift ? moved : drift;
          drift = change > drift ? change : drift;
        }
        if (write) {
          x->scale[at + c] = (float)scale;
          x->shift[at + c] = (float)shift;
        }
      }
    }
  }
  return drift;
}

static int sum_part(tm_edit_context *x, const tm_edit_norm *norm, const tm_edit_part *part,
                    int dense) {
  const tm_edit_value *v = value_of(x, part->value);
  tm_edit_shape shape = shape_of(x, part->value);
  int32_t images = x->program->images;
  int64_t base = norm->place * images;
  const entry *e = NULL;
  int whole = dense || x->before != NULL || is_scratch(x, part->value);
  if (!whole) {
    if (x->entry_of[part->value] < 0) {
      return 1;
    }
    e = &x->entries[x->entry_of[part->value]];
  }
  size_t count = (size_t)images * (size_t)v->channels;
  double *sums = calloc(count * 2, sizeof(double));
  if (sums == NULL) {
    return 0;
  }
  if (whole) {
    const list *all = list_of(x, v->mask, FULL_TILE, 1);
    if (all == NULL) {
      free(sums);
      return 0;
    }
    tm_edit_sum_tiles(&shape, tm_edit_map(x, part->value), v->stride, NULL, sums, sums + count,
                      all->tiles, all->count, FULL_TILE, FULL_TILE);
  } else {
    tm_edit_sum_tiles(&shape, tm_edit_map(x, part->value), v->stride, e->saved, sums, sums + count,
                      e->tiles, e->count, e->size, e->size);
  }
  for (int32_t n = 0; n < images; ++n) {
    for (int32_t c = 0; c < v->channels; ++c) {
      int64_t at = base + (int64_t)n * norm->channels + part->channel + c;
      int64_t from = (int64_t)n * v->channels + c;
      x->sum[at] = (whole ? 0.0 : x->sum[at]) + sums[from];
      x->square[at] = (whole ? 0.0 : x->square[at]) + sums[count + (size_t)from];
    }
  }
  free(sums);
  return 1;
}

static int run_norm(tm_edit_context *x, const tm_edit_step *s, const tm_edit_options *options,
                    tm_edit_report *report, int dense) {
  const tm_edit_norm *norm = &x->program->norms[s->norm];
  for (int32_t i = 0; i < norm->parts; ++i) {
    if (!sum_part(x, norm, &x->program->parts[norm->first_part + i], dense)) {
      return 0;
    }
  }
  if (dense) {
    finish_norm(x, s->norm, 1);
    return 1;
  }
  double drift = finish_norm(x, s->norm, 0);
  if (drift > report->drift) {
    report->drift = drift;
    report->drift_norm = s->norm;
  }
  if (options->refresh) {
    finish_norm(x, s->norm, 1);
  }
  return 1;
}

static const float *norm_block(tm_edit_context *x, int32_t norm, const float *block) {
  return norm < 0 ? NULL : block + x->program->norms[norm].place * x->program->images;
}

const float *tm_edit_norm_scale(tm_edit_context *x, int32_t norm) {
  return norm_block(x, norm, x->scale);
}

const float *tm_edit_norm_shift(tm_edit_context *x, int32_t norm) {
  return norm_block(x, norm, x->shift);
}

/* -- layers ---------------------------------------------------------------------------------- */

static const float *bias_of(tm_edit_context *x, const tm_edit_step *s, int32_t *stride) {
  *stride = 0;
  if (s->bias_value >= 0) {
    *stride = value_of(x, s->bias_value)->shared ? 0 : value_of(x, s->bias_value)->stride;
    return tm_edit_map(x, s->bias_value);
  }
  return s->bias < 0 ? NULL : x->weights + s->bias;
}

static tm_edit_conv conv_of(tm_edit_context *x, const tm_edit_step *s, int32_t phase) {
  const tm_edit_phase *f = &x->program->phases[phase];
  const tm_edit_value *in = value_of(x, s->input), *out = value_of(x, s->output);
  int64_t row = (int64_t)out->width * out->stride;
  int plain = s->step_h == 1 && s->step_w == 1;
  tm_edit_conv c = {
      .in_height = in->height,
      .in_width = in->width,
      .in_channels = in->channels,
      .in_stride = in->stride,
      .out_height = f->out_height,
      .out_width = f->out_width,
      .out_channels = out->channels,
      .out_stride = out->stride * s->step_w,
      .kernel_h = f->kernel_h,
      .kernel_w = f->kernel_w,
      .stride_h = s->stride_h,
      .stride_w = s->stride_w,
      .dilation_h = f->dilation_h,
      .dilation_w = f->dilation_w,
      .pad_top = f->pad_top,
      .pad_left = f->pad_left,
      .groups = s->groups,
      .upsample = s->upsample,
      .in_activation = s->in_activation,
      .out_activation = s->out_activation,
      .leak = s->alpha,
      .in_scale = norm_block(x, s->norm, x->scale),
      .in_shift = norm_block(x, s->norm, x->shift),
      .weights = x->packed + x->packed_at[phase],
      .residual_stride = s->residual < 0 ? 0 : value_of(x, s->residual)->stride,
      .out_row = plain ? 0 : row * s->step_h,
      .out_image = plain ? 0 : row * out->height,
  };
  c.bias = bias_of(x, s, &c.bias_image);
  return c;
}

static tm_edit_linear linear_of(tm_edit_context *x, const tm_edit_step *s) {
  const tm_edit_value *in = value_of(x, s->input), *out = value_of(x, s->output);
  tm_edit_linear l = {
      .in_channels = in->channels,
      .in_stride = in->stride,
      .out_channels = out->channels,
      .out_stride = out->stride,
      .residual_stride = s->residual < 0 ? 0 : value_of(x, s->residual)->stride,
      .image_rows = out->height * out->width,
      .in_activation = s->in_activation,
      .out_activation = s->out_activation,
      .leak = s->alpha,
      .in_scale = norm_block(x, s->norm, x->scale),
      .in_shift = norm_block(x, s->norm, x->shift),
      .weights = x->packed + x->packed_at[s->first_phase],
  };
  l.bias = bias_of(x, s, &l.bias_image);
  return l;
}

/* Packs the weights of all phases; before, with `measure`, says where each lies. Answers their
   floats. */
static int64_t pack_all(tm_edit_context *x, int measure) {
  const tm_edit_program *p = x->program;
  int64_t total = 0;
  for (int32_t i = 0; i < p->steps_count; ++i) {
    const tm_edit_step *s = &p->steps[i];
    for (int32_t k = s->first_phase; k < s->first_phase + s->phases; ++k) {
      const float *from = x->weights + p->phases[k].weights;
      size_t floats;
      if (s->kind == TM_EDIT_STEP_LINEAR) {
        tm_edit_linear l = linear_of(x, s);
        floats = tm_edit_linear_packed(&l);
        if (!measure) {
          tm_edit_pack_linear(&l, from, x->packed + x->packed_at[k]);
        }
      } else {
        tm_edit_conv c = conv_of(x, s, k);
        floats = tm_edit_conv_packed(&c);
        if (!measure) {
          tm_edit_pack_conv(&c, from, x->packed + x->packed_at[k]);
        }
      }
      if (measure) {
        x->packed_at[k] = total;
      }
      total += (int64_t)((floats + 15) / 16 * 16);
    }
  }
  return total;
}

/* Pixels that a list covers. */
static int64_t covered(const tm_edit_value *v, const list *l) {
  int64_t total = 0;
  int32_t side = l->size == ROWS ? 1 : l->size;
  for (int32_t i = 0; i < l->count; ++i) {
    int32_t rows = v->height - l->tiles[i].y, columns = v->width - l->tiles[i].x;
    total += (int64_t)(rows < side ? rows : side) * (columns < side ? columns : side);
  }
  return total;
}

static double dense_cost(tm_edit_context *x, const tm_edit_step *s) {
  double cost = 0.0;
  for (int32_t k = 0; k < s->phases; ++k) {
    tm_edit_conv c = conv_of(x, s, s->first_phase + k);
    cost += tm_edit_conv_dense_cost(&c) * x->program->images;
  }
  return cost;
}

/* The list of the tile size that takes least time, and that time; `whole` where the dense layer
 * takes less. */
static const list *cheapest(tm_edit_context *x, const tm_edit_step *s,
                            const tm_edit_options *options, int *whole, double *cost_of) {
  static const int32_t sides[] = {4, 6, 8, 16};
  const tm_edit_value *v = value_of(x, s->output);
  double best = -1.0;
  const list *chosen = NULL;
  for (int32_t i = 0; i < 4; ++i) {
    /* tiles of a transposed convolution are whole steps; the first size serves where none fits */
    int32_t size = sides[i];
    if (size % s->step_h != 0 || size % s->step_w != 0) {
      if (i > 0) {
        continue;
      }
      size = 4 * s->step_h * s->step_w;
    }
    const list *l = list_of(x, v->mask, size, 0);
    if (l == NULL) {
      return NULL;
    }
    double cost = 0.0;
    for (int32_t k = 0; k < s->phases; ++k) {
      tm_edit_conv c = conv_of(x, s, s->first_phase + k);
      cost += l->count * tm_edit_conv_cost(&c, size / s->step_h, size / s->step_w);
    }
    if (best < 0.0 || cost < best) {
      best = cost;
      chosen = l;
    }
  }
  *whole = best > dense_cost(x, s) * (double)options->break_even;
  *cost_of = best;
  return chosen;
}

/* Whether a layer is computed whole without a look at what is active. */
static int computes_all(const tm_edit_context *x, int32_t output, const tm_edit_options *options) {
  return options == NULL || x->before != NULL || is_scratch(x, output);
}

static int run_conv(tm_edit_context *x, const tm_edit_step *s, const tm_edit_options *options,
                    tm_edit_report *report) {
  const tm_edit_value *out = value_of(x, s->output);
  int full = computes_all(x, s->output, options), whole = full;
  double cost = 0.0;
  const list *l =
      full ? list_of(x, out->mask, FULL_TILE, 1) : cheapest(x, s, options, &whole, &cost);
  if (l != NULL && whole && !full) {
    l = list_of(x, out->mask, FULL_TILE, 1);
  }
  if (l == NULL || (!full && !save(x, s->output, l))) {
    return 0;
  }
  tm_edit_tile *moved = NULL;
  if (s->step_h != 1 || s->step_w != 1) {
    moved = malloc((size_t)l->count * sizeof *moved);
    if (moved == NULL) {
      return 0;
    }
  }
  const float *input = tm_edit_map(x, s->input);
  const float *residual = s->residual < 0 ? NULL : tm_edit_map(x, s->residual);
  for (int32_t k = s->first_phase; k < s->first_phase + s->phases; ++k) {
    const tm_edit_phase *f = &x->program->phases[k];
    tm_edit_conv c = conv_of(x, s, k);
    float *to = tm_edit_map(x, s->output) + ((int64_t)f->y * out->width + f->x) * out->stride;
    if (whole) {
      tm_edit_conv_dense(&c, input, residual, to, x->program->images);
    } else if (moved == NULL) {
      tm_edit_conv_tiles(&c, input, residual, to, l->tiles, l->count, l->size, l->size);
    } else {
      int32_t count = 0;
      for (int32_t i = 0; i < l->count; ++i) {
        tm_edit_tile tile = {l->tiles[i].image, l->tiles[i].y / s->step_h,
                             l->tiles[i].x / s->step_w};
        if (tile.y < f->out_height && tile.x < f->out_width) {
          moved[count++] = tile;
        }
      }
      tm_edit_conv_tiles(&c, input, residual, to, moved, count, l->size / s->step_h,
                         l->size / s->step_w);
    }
  }
  free(moved);
  if (report != NULL) {
    report->macs += (double)covered(out, l) * (double)s->macs;
    ++report->layers;
    report->dense_layers += whole;
  }
  return 1;
}

/* Layers on single rows: of active pixels, or of all. */
static int run_rows(tm_edit_context *x, const tm_edit_step *s, int full, int saves,
                    tm_edit_report *report) {
  const tm_edit_value *out = value_of(x, s->output);
  int32_t count = x->program->images * out->height * out->width;
  const int32_t *rows = NULL;
  int64_t macs = s->macs;
  if (!full) {
    const list *l = list_of(x, out->mask, ROWS, 0);
    if (l == NULL || (saves && !save(x, s->output, l))) {
      return 0;
    }
    rows = l->rows;
    count = l->count;
  }
  if (s->kind == TM_EDIT_STEP_LINEAR) {
    tm_edit_linear l = linear_of(x, s);
    tm_edit_linear_rows(&l, tm_edit_map(x, s->input),
                        s->residual < 0 ? NULL : tm_edit_map(x, s->residual),
                        tm_edit_map(x, s->output), rows, count);
  } else {
    const tm_edit_value *q = value_of(x, s->input), *k = value_of(x, s->second);
    const tm_edit_value *v = value_of(x, s->third);
    tm_edit_attend a = {s->heads,
                        q->channels / s->heads,
                        v->channels / s->heads,
                        q->height * q->width,
                        k->height * k->width,
                        q->stride,
                        k->stride,
                        v->stride,
                        out->stride,
                        s->alpha};
    tm_edit_attention(&a, tm_edit_map(x, s->input), tm_edit_map(x, s->second),
                      tm_edit_map(x, s->third), tm_edit_map(x, s->output), rows, count);
  }
  if (report != NULL) {
    report->macs += (double)count * (double)macs;
    report->layers += s->kind == TM_EDIT_STEP_LINEAR;
    report->dense_layers += full && s->kind == TM_EDIT_STEP_LINEAR;
  }
  return 1;
}

static int run_pixels(tm_edit_context *x, const tm_edit_step *s, int full) {
  enum { SIDE = 8 };
  const tm_edit_value *out = value_of(x, s->output);
  const list *l = list_of(x, out->mask, full ? FULL_TILE : SIDE, full);
  if (l == NULL || (!full && !save(x, s->output, l))) {
    return 0;
  }
  tm_edit_shape shape = shape_of(x, s->output);
  shape.activation = s->out_activation;
  shape.leak = s->alpha;
  float *to = tm_edit_map(x, s->output);
  tm_edit_operand input = operand_of(x, s->input, s->output), second = input, third = input;
  if (s->second >= 0) {
    second = operand_of(x, s->second, s->output);
  }
  if (s->third >= 0) {
    third = operand_of(x, s->third, s->output);
  }
  const float *scale = norm_block(x, s->norm, x->scale);
  const float *shift = norm_block(x, s->norm, x->shift);
  switch (s->kind) {
    case TM_EDIT_STEP_AFFINE:
      tm_edit_affine_tiles(&shape, input, scale, shift, to, out->stride, l->tiles, l->count,
                           l->size, l->size);
      return 1;
    case TM_EDIT_STEP_MODULATE:
      tm_edit_modulate_tiles(&shape, input, scale, shift, second, third, to, out->stride, l->tiles,
                             l->count, l->size, l->size);
      return 1;
    case TM_EDIT_STEP_BINARY:
      tm_edit_binary_tiles(&shape, (tm_edit_function)s->function, input, second, to, out->stride,
                           l->tiles, l->count, l->size, l->size);
      return 1;
    default:
      break;
  }
  const tm_edit_value *in = value_of(x, s->input);
  tm_edit_pixels p = {
      .step = s,
      .input = tm_edit_map(x, s->input),
      .in_height = in->height,
      .in_width = in->width,
      .in_channels = in->channels,
      .in_stride = in->stride,
      .in_image = in->shared ? 0 : (int64_t)in->height * in->width * in->stride,
      .output = to,
      .out_stride = out->stride,
      .shape = shape,
      .rows = s->rows < 0 ? NULL : &x->program->axes[s->rows],
      .columns = s->columns < 0 ? NULL : &x->program->axes[s->columns],
      .scale = s->second < 0 ? NULL : tm_edit_map(x, s->second),
      .shift = s->third < 0 ? NULL : tm_edit_map(x, s->third),
  };
  tm_edit_pixels_tiles(&p, l->tiles, l->count, l->size);
  return 1;
}

/* Takes a value's map over from before a run that computes all. */
static void carry(tm_edit_context *x, int32_t value) {
  const tm_edit_value *v = value_of(x, value);
  float *to = tm_edit_map(x, value);
  const float *from = x->before + (to - x->kept);
  int64_t count = (int64_t)x->program->images * v->height * v->width;
  for (int64_t i = 0; i < count; ++i) {
    memcpy(to + i * v->stride, from + i * v->stride, (size_t)v->channels * sizeof *to);
  }
}

static int run_step(tm_edit_context *x, const tm_edit_step *s, const tm_edit_options *options,
                    tm_edit_report *report) {
  if (s->kind == TM_EDIT_STEP_NORM) { /* it has no output */
    return run_norm(x, s, options, report, options == NULL);
  }
  int full = computes_all(x, s->output, options);
  if (report != NULL) {
    const tm_edit_value *out = value_of(x, s->output);
    report->dense_macs += (double)x->program->images * out->height * out->width * (double)s->macs;
  }
  if (options != NULL && !is_scratch(x, s->output) &&
      x->masks[value_of(x, s->output)->mask].active == 0) {
    if (x->before != NULL) {
      carry(x, s->output);
    }
    return 1;
  }
  if (s->kind == TM_EDIT_STEP_ATTENTION && x->before != NULL) {
    carry(x, s->output); /* queries that the edit does not reach keep what they gave */
  }
  switch (s->kind) {
    case TM_EDIT_STEP_CONV:
      return run_conv(x, s, options, report);
    case TM_EDIT_STEP_LINEAR:
      return run_rows(x, s, full, 1, report);
    case TM_EDIT_STEP_ATTENTION:
      return run_rows(x, s, options == NULL, x->before == NULL, report);
    default:
      return run_pixels(x, s, full);
  }
}

/* -- runs ------------------------------------------------------------------------------------ */

static const float *source_at(const tm_edit_source *s, int32_t n, int32_t y, int32_t c) {
  return s->data + n * s->image + y * s->row + c * s->pixel;
}

/* Marks what differs from the input's map, or what `given` marks. Answers whether all values that
   are to be read are finite. */
static int compare(tm_edit_context *x, const tm_edit_source *source, const uint8_t *given,
                   float threshold) {
  const tm_edit_program *p = x->program;
  const tm_edit_value *v = value_of(x, p->input);
  const float *map = tm_edit_map(x, p->input);
  uint8_t *pixels = x->masks[v->mask].pixels;
  int32_t rows = p->images * v->height, finite = 1;
#pragma omp parallel for schedule(static) reduction(& : finite)
  for (int32_t r = 0; r < rows; ++r) {
    enum { SOME = 16 }; /* pixels at a time, which stay in the cache in either layout */
    uint8_t *row = pixels + (int64_t)r * v->width;
    const float *old = map + (int64_t)r * v->width * v->stride;
    for (int32_t first = 0; first < v->width; first += SOME) {
      int32_t last = first + SOME < v->width ? first + SOME : v->width, any = 0;
      for (int32_t c = first; c < last; ++c) {
        row[c] = given == NULL ? 0 : given[(int64_t)r * v->width + c] != 0;
        any |= row[c];
      }
      for (int32_t k = 0; (given == NULL || any) && k < v->channels; ++k) {
        const float *in = source_at(source, r / v->height, r % v->height, 0) + k * source->channel;
        for (int32_t c = first; c < last; ++c) {
          float value = in[c * source->pixel];
          if (given == NULL) {
            finite &= isfinite(value) != 0;
            row[c] |= fabsf(value - old[(int64_t)c * v->stride + k]) > threshold;
          } else {
            finite &= row[c] == 0 || isfinite(value) != 0;
          }
        }
      }
    }
  }
  return finite;
}

static void take_input(tm_edit_context *x, const tm_edit_source *source, int all) {
  const tm_edit_program *p = x->program;
  const tm_edit_value *v = value_of(x, p->input);
  float *map = tm_edit_map(x, p->input);
  const uint8_t *pixels = x->masks[v->mask].pixels;
#pragma omp parallel for schedule(static)
  for (int32_t r = 0; r < p->images * v->height; ++r) {
    for (int32_t c = 0; c < v->width; ++c) {
      int64_t at = (int64_t)r * v->width + c;
      if (all || pixels[at] != 0) {
        const float *in = source_at(source, r / v->height, r % v->height, c);
        for (int32_t k = 0; k < v->channels; ++k) {
          map[at * v->stride + k] = in[k * source->channel];
        }
      }
    }
  }
}

/* Whether tiles would take about as long as all layers computed whole. */
static int worth_all(tm_edit_context *x, const tm_edit_options *options, int *failed) {
  static const double MARGIN = 0.85; /* a run that computes all saves no tiles */
  const tm_edit_program *p = x->program;
  double tiles = 0.0, dense = 0.0;
  for (int32_t i = 0; i < p->steps_count; ++i) {
    const tm_edit_step *s = &p->steps[i];
    if (s->kind != TM_EDIT_STEP_CONV) {
      continue;
    }
    int whole = 0;
    double best = 0.0, all = dense_cost(x, s);
    if (is_scratch(x, s->output)) {
      best = all;
    } else if (x->masks[value_of(x, s->output)->mask].active != 0 &&
               cheapest(x, s, options, &whole, &best) == NULL) {
      *failed = 1;
      return 0;
    }
    tiles += best < all ? best : all;
    dense += all;
  }
  return dense > 0.0 && tiles > MARGIN * dense * (double)options->break_even;
}

/* Turns to another block of maps, with what no layer writes; 0 where there is no memory. */
static int whole_run(tm_edit_context *x) {
  const tm_edit_program *p = x->program;
  int32_t most = x->spares_count + x->levels_count; /* all that undoing can set free */
  while (x->spares_capacity <= most) {
    if (!grow((void **)&x->spares, &x->spares_capacity, x->spares_capacity, sizeof *x->spares)) {
      return 0;
    }
  }
  float *fresh =
      x->spares_count > 0 ? x->spares[--x->spares_count] : make((size_t)p->kept * sizeof(float));
  if (fresh == NULL) {
    return 0;
  }
  for (int32_t i = 0; i < p->stores_count; ++i) {
    const tm_edit_store *store = &p->stores[i];
    if (store->kind == TM_EDIT_KEPT && (!x->written[i] || i == p->values[p->input].store)) {
      memcpy(fresh + store->place, x->kept + store->place, (size_t)store->floats * sizeof(float));
    }
  }
  x->levels[x->levels_count - 1].kept = x->kept;
  x->before = x->kept;
  x->kept = fresh;
  return 1;
}

int32_t tm_edit_precompute(tm_edit_context *x, const tm_edit_source *source) {
  const tm_edit_program *p = x->program;
  x->ready = 0;
  for (int32_t i = 0; i < x->levels_count; ++i) {
    free(x->levels[i].kept);
  }
  x->before = NULL;
  x->levels_count = x->entries_count = x->chunks_used = 0;
  take_input(x, source, 1);
  tm_edit_failures(); /* of other contexts */
  for (int32_t i = 0; i < p->steps_count; ++i) {
    if (!run_step(x, &p->steps[i], NULL, NULL)) {
      return TM_EDIT_NO_MEMORY;
    }
  }
  if (tm_edit_failures() != 0) {
    return TM_EDIT_NO_MEMORY;
  }
  x->ready = 1;
  return TM_EDIT_OK;
}

int32_t tm_edit_run(tm_edit_context *x, const tm_edit_source *source, const uint8_t *given,
                    const tm_edit_options *options, tm_edit_report *report) {
  const tm_edit_program *p = x->program;
  const tm_edit_value *v = value_of(x, p->input);
  memset(report, 0, sizeof *report);
  report->drift_norm = -1;
  if (!x->ready) {
    return TM_EDIT_NOTHING;
  }
  if (!compare(x, source, given, options->threshold)) {
    return TM_EDIT_NOT_FINITE;
  }
  mask *origin = &x->masks[v->mask];
  for (int32_t n = 0; n < p->images; ++n) {
    dilate(origin->pixels + (int64_t)n * v->height * v->width, origin->columns, v->height, v->width,
           options->dilation);
  }
  settle(x, v->mask);
  report->active = (double)origin->active / ((double)p->images * v->height * v->width);
  for (int32_t i = 0; i < p->values_count; ++i) {
    x->entry_of[i] = -1;
  }
  if (!begin_level(x)) {
    return TM_EDIT_NO_MEMORY;
  }
  spread_all(x, options);
  int failed = 0;
  x->before = NULL;
  int all = origin->active > 0 && worth_all(x, options, &failed);
  int done = !failed && (!all || whole_run(x));
  if (done && !all && origin->active > 0) {
    const list *rows = list_of(x, v->mask, ROWS, 0);
    done = rows != NULL && save(x, p->input, rows);
  }
  if (done && origin->active > 0) {
    take_input(x, source, 0);
  }
  for (int32_t i = 0; done && i < p->steps_count; ++i) {
    const tm_edit_step *s = &p->steps[i];
    if (origin->active == 0) { /* nothing changes, scratch included */
      const tm_edit_value *out = value_of(x, s->output < 0 ? p->input : s->output);
      report->dense_macs += (double)p->images * out->height * out->width * (double)s->macs;
      continue;
    }
    done = run_step(x, s, options, report);
  }
  if (!done || tm_edit_failures() != 0) {
    x->before = NULL;
    tm_edit_undo(x);
    return TM_EDIT_NO_MEMORY;
  }
  x->before = NULL;
  for (int32_t i = 0; i < x->chunks_used; ++i) {
    report->log_bytes += (int64_t)x->chunks[i].used;
  }
  for (int32_t i = 0; i < x->levels_count; ++i) {
    report->log_bytes += x->levels[i].kept == NULL ? 0 : p->kept * (int64_t)sizeof(float);
  }
  return TM_EDIT_OK;
}

static int open_masks(tm_edit_context *x) {
  const tm_edit_program *p = x->program;
  int32_t widest = 1;
  for (int32_t i = 0; i < p->masks_count; ++i) {
    widest = p->masks[i].width > widest ? p->masks[i].width : widest;
  }
  x->masks = calloc((size_t)p->masks_count, sizeof *x->masks);
  if (x->masks == NULL) {
    return 0;
  }
  for (int32_t i = 0; i < p->masks_count; ++i) {
    size_t area = (size_t)p->masks[i].height * (size_t)p->masks[i].width;
    x->masks[i].pixels = calloc(area * (size_t)p->images, 1);
    x->masks[i].columns = malloc(area > (size_t)widest ? area : (size_t)widest);
    if (x->masks[i].pixels == NULL || x->masks[i].columns == NULL) {
      return 0;
    }
  }
  return 1;
}

tm_edit_context *tm_edit_open(const tm_edit_program *p, const float *weights) {
  tm_edit_context *x = calloc(1, sizeof *x);
  if (x == NULL) {
    return NULL;
  }
  x->program = p;
  x->weights = weights;
  size_t channels = (size_t)p->norm_channels * (size_t)p->images;
  x->kept = make((size_t)p->kept * sizeof(float));
  x->scratch = make((size_t)p->scratch * sizeof(float));
  x->scale = make(channels * sizeof(float));
  x->shift = make(channels * sizeof(float));
  x->sum = make(channels * sizeof(double));
  x->square = make(channels * sizeof(double));
  x->entry_of = malloc(((size_t)p->values_count + 1) * sizeof *x->entry_of);
  x->packed_at = calloc((size_t)p->phases_count + 1, sizeof *x->packed_at);
  x->written = calloc((size_t)p->stores_count + 1, 1);
  if (!open_masks(x) || x->kept == NULL || x->scratch == NULL || x->scale == NULL ||
      x->shift == NULL || x->sum == NULL || x->square == NULL || x->entry_of == NULL ||
      x->packed_at == NULL || x->written == NULL) {
    tm_edit_close(x);
    return NULL;
  }
  for (int32_t i = 0; i < p->steps_count; ++i) {
    if (p->steps[i].output >= 0) {
      x->written[p->values[p->steps[i].output].store] = 1;
    }
  }
  memset(x->sum, 0, channels * sizeof(double));
  memset(x->square, 0, channels * sizeof(double));
  for (int32_t i = 0; i < p->norms_count; ++i) {
    const tm_edit_norm *norm = &p->norms[i];
    for (int32_t c = 0; c < p->images * norm->channels; ++c) {
      int64_t at = norm->place * p->images + c;
      x->scale[at] = weights[norm->scale + c % norm->channels];
      x->shift[at] = weights[norm->shift + c % norm->channels];
    }
  }
  x->packed = make((size_t)pack_all(x, 1) * sizeof(float));
  if (x->packed == NULL) {
    tm_edit_close(x);
    return NULL;
  }
  pack_all(x, 0);
  return x;
}

void tm_edit_close(tm_edit_context *x) {
  for (int32_t i = 0; x->masks != NULL && i < x->program->masks_count; ++i) {
    mask *m = &x->masks[i];
    for (int32_t k = 0; k < SIZES; ++k) {
      free(m->lists[k].tiles);
      free(m->lists[k].rows);
      free(m->full[k].tiles);
      free(m->full[k].rows);
    }
    free(m->pixels);
    free(m->columns);
  }
  for (int32_t i = 0; i < x->chunks_count; ++i) {
    free(x->chunks[i].data);
  }
  for (int32_t i = 0; i < x->levels_count; ++i) {
    free(x->levels[i].kept);
  }
  for (int32_t i = 0; i < x->spares_count; ++i) {
    free(x->spares[i]);
  }
  void *blocks[] = {x->written,  x->spares,    x->masks,  x->kept,    x->scratch,
                    x->packed,   x->scale,     x->shift,  x->sum,     x->square,
                    x->entry_of, x->packed_at, x->chunks, x->entries, x->levels};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; ++i) {
    free(blocks[i]);
  }
  free(x);
}
