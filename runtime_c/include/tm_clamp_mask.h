/* One bit for each element of a map: whether it lies strictly inside its clamp, where a gradient
 * passes. Rows of `row` elements begin with a byte of their own:
 *
 * bit k % 8 of bits[r][k / 8] = lo < y[r][k] && y[r][k] < hi,
 *
 * bits beyond a row's end are 0. No overlap of input and output.
 *
 * operands: const int8_t *y, uint8_t *bits */
#ifndef TM_CLAMP_MASK_H
#define TM_CLAMP_MASK_H

#include <stdint.h>

#include "tm_status.h"

typedef struct {
  int32_t rows; /* of all images */
  int32_t row;  /* elements of a row */
  int32_t lo, hi;
} tm_clamp_mask_s8_params;

#endif
