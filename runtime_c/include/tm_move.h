/* Kernels that only move bytes: one serves every element type. Shapes have 8 axes, the leading
 * ones 1. Input and output do not overlap. */
#ifndef TM_MOVE_H
#define TM_MOVE_H

#include <stdint.h>
#include <string.h>

#include "tm_status.h"

#define TM_MOVE_RANK 8

/* y[i0]..[i7] = x at i0 * strides[0] + ... + i7 * strides[7] (bytes) */
typedef struct {
  int32_t element; /* bytes moved at once */
  int32_t shape[TM_MOVE_RANK];
  int32_t strides[TM_MOVE_RANK];
} tm_transpose_b8_params;

/* y = x with before[a] elements in front of axis a, filled up to shape[a] */
typedef struct {
  int32_t element;              /* bytes moved at once */
  int32_t unit;                 /* bytes of the constant, a part of `element` */
  int32_t shape[TM_MOVE_RANK];  /* of the output */
  int32_t source[TM_MOVE_RANK]; /* of the input */
  int32_t before[TM_MOVE_RANK];
  uint8_t fill[8]; /* the bytes of the constant */
  int32_t mode;    /* 0 constant, 1 reflect, 2 edge */
} tm_pad_b8_params;

/* y[i0]..[i7] = x at offset + i0 * strides[0] + ... (bytes, strides may be negative) */
typedef struct {
  int32_t element; /* bytes moved at once */
  int32_t offset;
  int32_t shape[TM_MOVE_RANK];
  int32_t strides[TM_MOVE_RANK];
} tm_slice_b8_params;

#define TM_MOVE_PIECES 16

/* `outer` times over, bytes[i] of piece i for each of the pieces: joined from them or cut into
 * them. Unused pieces are NULL. */
typedef struct {
  int32_t outer, pieces;
  int32_t bytes[TM_MOVE_PIECES];
} tm_pieces_params;

typedef tm_pieces_params tm_concat_b8_params;
typedef tm_pieces_params tm_split_b8_params;

/* `outer` times over, bytes at each of `count` indices into `size` places; -1 is the last.
 * TM_BAD_ARGUMENT where an index lies outside. */
typedef struct {
  int32_t outer, size, bytes, count;
} tm_gather_params;

typedef tm_gather_params tm_gather_s32_params;
typedef tm_gather_params tm_gather_s64_params;

/* y = x */
typedef struct {
  int32_t bytes;
} tm_copy_b8_params;

/* Of a window of first + kept + last bytes the kept ones come from `shift` bytes further on, the
 * others from two arrays outside of it. */
typedef struct {
  int32_t first, kept, last; /* bytes */
  int32_t shift;             /* bytes, at most `last` */
} tm_slide_b8_params;

/* Advances an index by one element; 0 after the last. */
static inline int tm_next_index(int32_t *index, const int32_t *shape) {
  for (int32_t axis = TM_MOVE_RANK - 1; axis >= 0; --axis) {
    if (++index[axis] < shape[axis]) {
      return 1;
    }
    index[axis] = 0;
  }
  return 0;
}

/* The same for all axes but the last. */
static inline int tm_next_run(int32_t *index, const int32_t *shape) {
  for (int32_t axis = TM_MOVE_RANK - 2; axis >= 0; --axis) {
    if (++index[axis] < shape[axis]) {
      return 1;
    }
    index[axis] = 0;
  }
  return 0;
}

/* y[i0]..[i7] = x at i0 * strides[0] + ... + i7 * strides[7] (bytes), `element` bytes each */
static inline void tm_move(uint8_t *y, const uint8_t *x, int32_t element, const int32_t *shape,
                           const int32_t *strides) {
  const int32_t count = shape[TM_MOVE_RANK - 1];
  const int32_t step = strides[TM_MOVE_RANK - 1];
  int32_t index[TM_MOVE_RANK] = {0};
  do {
    const uint8_t *from = x;
    for (int32_t axis = 0; axis < TM_MOVE_RANK - 1; ++axis) {
      from += index[axis] * strides[axis];
    }
    for (int32_t n = 0; n < count; ++n) {
      if (element == 1) {
        *y = *from;
      } else {
        memcpy(y, from, (size_t)element);
      }
      y += element;
      from += step;
    }
  } while (tm_next_run(index, shape));
}

#endif
