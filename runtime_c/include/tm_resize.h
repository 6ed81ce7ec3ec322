/* Resizing of maps. Which rows and columns are read stands in tables. The input is read whole:
 * it does not overlap the output. */
#ifndef TM_RESIZE_H
#define TM_RESIZE_H

#include <string.h>

#include "tm_rows.h"
#include "tm_status.h"

/* y[i][j] = x[rows[i]][columns[j]] */
typedef struct {
  int32_t out_w;
  int32_t pixel; /* bytes of all channels */
  const int32_t *rows;
  const int32_t *columns;
} tm_resize_nearest_b8_params;

#define TM_RESIZE_BILINEAR_GEOMETRY                     \
  int32_t out_w, channels;                              \
  const int32_t *rows;    /* two for each output row */ \
  const int32_t *columns; /* two for each output column */

/* y = rows (1 - v) and v times columns (1 - w) and w; weights of the second in 1 / 1024, the sum
 * rounded half away from zero */
typedef struct {
  TM_RESIZE_BILINEAR_GEOMETRY
  const int32_t *row_weights;
  const int32_t *column_weights;
} tm_resize_bilinear_s8_params;

typedef struct {
  TM_RESIZE_BILINEAR_GEOMETRY
  const float *row_weights;
  const float *column_weights;
} tm_resize_bilinear_f32_params;

#endif
