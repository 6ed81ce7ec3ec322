/* What the kernels of sparse editing share: activations, scratch, threads, register blocks of
   products. */
#ifndef TM_EDIT_INNER_H
#define TM_EDIT_INNER_H

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "tm_edit.h"
#include "tm_edit_lanes.h"

#if defined(_OPENMP)
#define TM_PRAGMA(text) _Pragma(#text)
#define TM_OMP(text) TM_PRAGMA(omp text)
#else
#define TM_OMP(text)
#endif

/* Work on fewer floats is done by the calling thread: waking others takes longer. */
#define TM_SMALL 8192

#define TM_FLOAT ((int64_t)sizeof(float))

TM_INLINE int32_t tm_threads(void) {
#if defined(_OPENMP)
  return omp_in_parallel() ? 1 : omp_get_max_threads();
#else
  return 1;
#endif
}

TM_INLINE int32_t tm_thread(void) {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

TM_INLINE int32_t tm_least(int32_t a, int32_t b) {
  return a < b ? a : b;
}
TM_INLINE int32_t tm_most(int32_t a, int32_t b) {
  return a > b ? a : b;
}
TM_INLINE int32_t tm_parts(int32_t count, int32_t size) {
  return (count + size - 1) / size;
}
TM_INLINE int64_t tm_round_up(int64_t count, int64_t step) {
  return (count + step - 1) / step * step;
}

enum { TM_ROOM_LIST, TM_ROOM_WORK, TM_ROOMS };
/* Room of the calling thread, kept for its next call, aligned to a line of the cache; NULL if there
   is no memory, which tm_edit_failures counts. The same room got earlier is invalid then. */
void *tm_edit_room(int32_t which, int64_t bytes);

TM_INLINE tm_vec tm_activate(tm_edit_activation activation, float leak, tm_vec x) {
  switch (activation) {
    case TM_EDIT_RELU:
      return tm_max(tm_set(0.0f), x);
    case TM_EDIT_LEAKY:
      return tm_less(x, tm_set(0.0f), tm_mul(x, tm_set(leak)), x);
    case TM_EDIT_SILU:
      return tm_div(x, tm_add(tm_set(1.0f), tm_exp(tm_sub(tm_set(0.0f), x))));
    case TM_EDIT_TANH:
      return tm_tanh(x);
    case TM_EDIT_SIGMOID:
      return tm_sigmoid(x);
    default:
      return x;
  }
}

/* Runs `statement` with the constant `chosen` in place of an activation known only at run time, so
   that loops over vectors hold one activation and no switch. */
#define TM_BY_ACTIVATION(activation, statement)          \
  switch (activation) {                                  \
    case TM_EDIT_RELU: {                                 \
      const tm_edit_activation chosen = TM_EDIT_RELU;    \
      statement;                                         \
    } break;                                             \
    case TM_EDIT_LEAKY: {                                \
      const tm_edit_activation chosen = TM_EDIT_LEAKY;   \
      statement;                                         \
    } break;                                             \
    case TM_EDIT_SILU: {                                 \
      const tm_edit_activation chosen = TM_EDIT_SILU;    \
      statement;                                         \
    } break;                                             \
    case TM_EDIT_TANH: {                                 \
      const tm_edit_activation chosen = TM_EDIT_TANH;    \
      statement;                                         \
    } break;                                             \
    case TM_EDIT_SIGMOID: {                              \
      const tm_edit_activation chosen = TM_EDIT_SIGMOID; \
      statement;                                         \
    } break;                                             \
    default: {                                           \
      const tm_edit_activation chosen = TM_EDIT_NONE;    \
      statement;                                         \
    } break;                                             \
  }

/* sums[r][v] += sum over k < count of rows[r][k] * columns[k * step + v * TM_LANES ...] */
TM_INLINE void tm_products(const int32_t height, const float *const *rows, int64_t offset,
                           const float *columns, const int64_t step, int32_t count,
                           tm_vec sums[TM_ROWS][TM_VECTORS]) {
  int32_t k = 0;
  for (; k + 4 <= count; k += 4) {
    TM_UNROLL
    for (int32_t u = 0; u < 4; ++u) {
      tm_vec column[TM_VECTORS];
      TM_UNROLL
      for (int32_t v = 0; v < TM_VECTORS; ++v) {
        column[v] = tm_load(columns + u * step + v * TM_LANES);
      }
      TM_UNROLL
      for (int32_t r = 0; r < height; ++r) {
        const tm_vec row = tm_set(rows[r][offset + k + u]);
        TM_UNROLL
        for (int32_t v = 0; v < TM_VECTORS; ++v) {
          sums[r][v] = tm_fma(row, column[v], sums[r][v]);
        }
      }
    }
    columns += 4 * step;
  }
  for (; k < count; ++k) {
    tm_vec column[TM_VECTORS];
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      column[v] = tm_load(columns + v * TM_LANES);
    }
    TM_UNROLL
    for (int32_t r = 0; r < height; ++r) {
      const tm_vec row = tm_set(rows[r][offset + k]);
      TM_UNROLL
      for (int32_t v = 0; v < TM_VECTORS; ++v) {
        sums[r][v] = tm_fma(row, column[v], sums[r][v]);
      }
    }
    columns += step;
  }
}

/* Runs `statement` with the constant `tall` in place of a number of rows from 1 to TM_ROWS. */
#if TM_ROWS == 12
#define TM_BY_HEIGHT(height, statement) \
  switch (height) {                     \
    TM_HEIGHT(1, statement)             \
    TM_HEIGHT(2, statement)             \
    TM_HEIGHT(3, statement)             \
    TM_HEIGHT(4, statement)             \
    TM_HEIGHT(5, statement)             \
    TM_HEIGHT(6, statement)             \
    TM_HEIGHT(7, statement)             \
    TM_HEIGHT(8, statement)             \
    TM_HEIGHT(9, statement)             \
    TM_HEIGHT(10, statement)            \
    TM_HEIGHT(11, statement)            \
    TM_HEIGHT(12, statement)            \
  }
#elif TM_ROWS == 6
#define TM_BY_HEIGHT(height, statement) \
  switch (height) {                     \
    TM_HEIGHT(1, statement)             \
    TM_HEIGHT(2, statement)             \
    TM_HEIGHT(3, statement)             \
    TM_HEIGHT(4, statement)             \
    TM_HEIGHT(5, statement)             \
    TM_HEIGHT(6, statement)             \
  }
#else
#define TM_BY_HEIGHT(height, statement) \
  switch (height) {                     \
    TM_HEIGHT(1, statement)             \
    TM_HEIGHT(2, statement)             \
    TM_HEIGHT(3, statement)             \
    TM_HEIGHT(4, statement)             \
  }
#endif
#define TM_HEIGHT(n, statement) \
  case n: {                     \
    enum { tall = n };          \
    statement;                  \
  } break;

/* Height of the next of the register blocks that share `left` rows evenly. */
TM_INLINE int32_t tm_next_height(int32_t left) {
  const int32_t blocks = tm_parts(left, TM_ROWS);
  return tm_parts(left, blocks);
}

#endif
