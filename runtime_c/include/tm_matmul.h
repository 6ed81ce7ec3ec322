/* Products of matrices that are both made at run time: y[n] = a[n] b[n], a [m, k], b [k, n],
 * for each place n of the leading axes, which broadcast by strides (in elements, 0 where an
 * input repeats). Input and output do not overlap. */
#ifndef TM_MATMUL_H
#define TM_MATMUL_H

#include <stdint.h>

#include "tm_status.h"

#define TM_MATMUL_RANK 6

#define TM_MATMUL_GEOMETRY                                 \
  int32_t batch;                 /* number of products */  \
  int32_t rows, depth, columns;  /* m, k, n */             \
  int32_t shape[TM_MATMUL_RANK]; /* of the leading axes */ \
  int32_t first_strides[TM_MATMUL_RANK];                   \
  int32_t second_strides[TM_MATMUL_RANK];

typedef struct {
  TM_MATMUL_GEOMETRY
} tm_matmul_f32_params;

/* y = clamp(rint(float(sum (a - first_zero) * (b - second_zero)) * scale) + out_zero) */
typedef struct {
  TM_MATMUL_GEOMETRY
  int32_t first_zero, second_zero, out_zero;
  float scale;
} tm_matmul_s8_params;

/* Advances an index over the leading axes, and the places in both inputs. */
static inline void tm_matmul_next(int32_t *index, const int32_t *shape, int32_t *first,
                                  const int32_t *first_strides, int32_t *second,
                                  const int32_t *second_strides) {
  for (int32_t axis = TM_MATMUL_RANK - 1; axis >= 0; --axis) {
    *first += first_strides[axis];
    *second += second_strides[axis];
    if (++index[axis] < shape[axis]) {
      return;
    }
    *first -= first_strides[axis] * shape[axis];
    *second -= second_strides[axis] * shape[axis];
    index[axis] = 0;
  }
}

#endif
