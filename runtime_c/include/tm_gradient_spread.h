/* The gradient of an average over windows, each cut at the map's edges:
 *
 * g[y][x][c] = saturate(round(2^-shift * sum of h[oy][ox][c] * multiplier[n - 1])) over all windows
 * (oy, ox) that hold (y, x): oy * stride_h - pad_top <= y < oy * stride_h - pad_top + window_h,
 * likewise ox; n is how many places of the map the window has, or with count_padding all of the
 * window. A mean over the whole map is one
 * window. Saturated to [-limit, limit], rounded half up. No overlap of input and output.
 *
 * operands: rows h, rows g */
#ifndef TM_GRADIENT_SPREAD_H
#define TM_GRADIENT_SPREAD_H

#include "tm_gradient.h"
#include "tm_pool.h"

/* geometry as of the pooling: in_w is that of g, out_w that of h */
typedef struct {
  TM_POOL_GEOMETRY
  int32_t in_h, out_h;
  int32_t count_padding;
  const int16_t
      *multiplier; /* window_h * window_w of 0 to 32767; no sum of products leaves 32 bits */
  int32_t shift;   /* in [0, 31] */
  int32_t limit;   /* 1 to 32767 */
} tm_gradient_spread_s16_params;

/* The windows, of `outputs`, that hold place `place` of a map: [first, last). */
typedef struct {
  int32_t first, last;
} tm_pool_holders;

static inline tm_pool_holders tm_pool_holding(int32_t place, int32_t outputs, int32_t window,
                                              int32_t stride, int32_t pad) {
  tm_pool_holders found;
  const int32_t reach = place + pad - window;
  found.first = reach < 0 ? 0 : reach / stride + 1;
  found.last = (place + pad) / stride + 1;
  found.last = found.last > outputs ? outputs : found.last;
  return found;
}

#endif
