/* One bit for each element of a map: whether it lies strictly inside its clamp, where a gradient
 * passes. Rows of `length` elements begin with a byte of their own:
 *
 * bit k % 8 of bits[row][k / 8] = lo < y[row][k] && y[row][k] < hi,
 *
 * bits beyond a row's end are 0. No overlap of input and output. */
#ifndef TM_CLAMP_MASK_H
#define TM_CLAMP_MASK_H

#include <stdint.h>

#include "tm_status.h"

typedef struct {
  int32_t rows;   /* of all images */
  int32_t length; /* columns times channels */
  int32_t lo, hi; /* within [-129, 128] */
} tm_clamp_mask_s8_params;

#endif
