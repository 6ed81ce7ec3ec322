/* The gradient of maximum pooling. A window's gradient goes to its first place, row by row, that
 * has the value of the window's output; to none where the output was clamped to another:
 *
 * g[y][x][c] = saturate(sum of h[oy][ox][c]) over the windows whose first place that is,
 *
 * saturated to [-limit, limit]. No overlap of inputs and output.
 *
 * operands: rows x (int8), rows y (int8), rows h (int16), rows g (int16) */
#ifndef TM_MAXPOOL_GRADIENT_H
#define TM_MAXPOOL_GRADIENT_H

#include "tm_gradient_spread.h"

/* geometry as of the pooling: in_w is that of x and g, out_w that of y and h */
typedef struct {
  TM_POOL_GEOMETRY
  int32_t in_h, out_h;
  int32_t shift; /* 0 */
  int32_t limit; /* 1 to 32767 */
} tm_maxpool_gradient_s16_params;

#endif
