/* One value from all elements along some axes. The input is seen as kept axes times reduced
 * axes, each with its strides in elements; leading axes are 1. Input and output do not overlap. */
#ifndef TM_REDUCE_H
#define TM_REDUCE_H

#include <stdint.h>

#include "tm_line.h"
#include "tm_status.h"

#define TM_REDUCE_RANK 8

enum { TM_REDUCE_SUM, TM_REDUCE_MEAN, TM_REDUCE_MAX, TM_REDUCE_MIN, TM_REDUCE_PROD };

#define TM_REDUCE_GEOMETRY               \
  int32_t kept_shape[TM_REDUCE_RANK];    \
  int32_t kept_strides[TM_REDUCE_RANK];  \
  int32_t reduced_shape[TM_REDUCE_RANK]; \
  int32_t reduced_strides[TM_REDUCE_RANK];

typedef struct {
  TM_REDUCE_GEOMETRY
  int32_t function;
} tm_reduce_f32_params;

/* maximum or minimum */
typedef struct {
  TM_REDUCE_GEOMETRY
  int32_t function;
} tm_reduce_s8_params;

/* y = saturate(fixed(sum - in_zero) + out_zero); in_zero is that of the whole sum */
typedef struct {
  TM_REDUCE_GEOMETRY
  int32_t in_zero, out_zero, multiplier, shift;
} tm_reduce_fixed_s8_params;

/* y = saturate(rint(float(sum - in_zero) * scale) + out_zero) */
typedef struct {
  TM_REDUCE_GEOMETRY
  int32_t in_zero, out_zero;
  float scale;
} tm_reduce_scaled_s8_params;

/* y = saturate(bent line of sum - in_zero), sums along the middle axis of [outer][count][inner] */
typedef struct {
  int32_t outer, count, inner;
  int32_t in_zero;                            /* that of the whole sum */
  int32_t up, multiplier, offset, bend, down; /* see tm_line.h */
} tm_mean_s8_params;

/* The index of the greatest or least element along the middle axis of [outer][depth][inner]. */
typedef struct {
  int32_t outer, depth, inner;
  int32_t least; /* the least */
  int32_t last;  /* the last of equals, else the first */
} tm_argmax_params;

typedef tm_argmax_params tm_argmax_s8_s32_params;
typedef tm_argmax_params tm_argmax_s8_s64_params;
typedef tm_argmax_params tm_argmax_f32_s32_params;
typedef tm_argmax_params tm_argmax_f32_s64_params;

/* Advances an index over `shape`, and the element offset by `strides`; 0 after the last. */
static inline int tm_reduce_next(int32_t *index, const int32_t *shape, const int32_t *strides,
                                 int32_t *offset) {
  for (int32_t axis = TM_REDUCE_RANK - 1; axis >= 0; --axis) {
    *offset += strides[axis];
    if (++index[axis] < shape[axis]) {
      return 1;
    }
    *offset -= strides[axis] * shape[axis];
    index[axis] = 0;
  }
  return 0;
}

static inline int8_t tm_mean_one(const tm_mean_s8_params *p, int32_t sum) {
  const int32_t y =
      tm_bent_line(sum - p->in_zero, p->up, p->multiplier, p->offset, p->bend, p->down);
  return (int8_t)(y < INT8_MIN ? INT8_MIN : (y > INT8_MAX ? INT8_MAX : y));
}

/* The output of the values from `x` on. */
static inline int8_t tm_mean_plain(const tm_mean_s8_params *p, const int8_t *x) {
  int32_t sum = 0;
  for (int32_t k = 0; k < p->count; ++k) {
    sum += *x;
    x += p->inner;
  }
  return tm_mean_one(p, sum);
}

/* The sum of the elements from `x` on along the reduced axes. */
static inline int32_t tm_reduce_sum(const int8_t *x, const int32_t *shape, const int32_t *strides) {
  const int32_t last = TM_REDUCE_RANK - 1;
  int32_t index[TM_REDUCE_RANK] = {0};
  int32_t offset = 0;
  int32_t sum = 0;
  int32_t axis;
  do {
    const int8_t *from = x + offset;
    for (int32_t n = 0; n < shape[last]; ++n) {
      sum += *from;
      from += strides[last];
    }
    for (axis = last - 1; axis >= 0; --axis) {
      offset += strides[axis];
      if (++index[axis] < shape[axis]) {
        break;
      }
      offset -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  } while (axis >= 0);
  return sum;
}

/* The body of an int8 kernel: one(p, sum) for each output. */
#define TM_REDUCE_SUM_KERNEL(kernel, params, one)                                          \
  static tm_status kernel(const params *p, const int8_t *in, int8_t *out, void *scratch) { \
    int32_t index[TM_REDUCE_RANK] = {0};                                                   \
    int32_t offset = 0;                                                                    \
    (void)scratch;                                                                         \
    do {                                                                                   \
      *out++ = one(p, tm_reduce_sum(in + offset, p->reduced_shape, p->reduced_strides));   \
    } while (tm_reduce_next(index, p->kept_shape, p->kept_strides, &offset));              \
    return TM_OK;                                                                          \
  }

/* The body of an argmax kernel. */
#define TM_ARGMAX_KERNEL(kernel, element, place)                                        \
  static tm_status kernel(const tm_argmax_params *p, const element *in, place *out,     \
                          void *scratch) {                                              \
    (void)scratch;                                                                      \
    for (int32_t o = 0; o < p->outer; ++o) {                                            \
      for (int32_t i = 0; i < p->inner; ++i) {                                          \
        const element *x = in + o * p->depth * p->inner + i;                            \
        int32_t best = 0;                                                               \
        for (int32_t d = 1; d < p->depth; ++d) {                                        \
          const element a = x[d * p->inner];                                            \
          const element b = x[best * p->inner];                                         \
          if (p->least ? a < b || (p->last && a <= b) : a > b || (p->last && a >= b)) { \
            best = d;                                                                   \
          }                                                                             \
        }                                                                               \
        *out++ = best;                                                                  \
      }                                                                                 \
    }                                                                                   \
    return TM_OK;                                                                       \
  }

#endif
