/* Average and maximum over windows of rows. Windows are cut at the map's edges, so no pad row
 * is read. Aliasing: as tm_part says. */
#ifndef TM_POOL_H
#define TM_POOL_H

#include "tm_line.h"
#include "tm_rows.h"
#include "tm_status.h"

#define TM_POOL_GEOMETRY         \
  int32_t in_w, channels, out_w; \
  int32_t window_h, window_w;    \
  int32_t stride_h, stride_w;    \
  int32_t pad_top, pad_left;

/* y = clamp(max of the window) */
typedef struct {
  TM_POOL_GEOMETRY
  int32_t lo, hi;
} tm_maxpool_s8_params;

typedef struct {
  TM_POOL_GEOMETRY
  float lo, hi;
} tm_maxpool_f32_params;

/* y = clamp(sum / n), rounded half away from zero, or half up */
typedef struct {
  TM_POOL_GEOMETRY
  int32_t lo, hi;
  int32_t count_padding; /* n is the whole window, else the part inside the map */
  int32_t half_up;
} tm_avgpool_s8_params;

/* y = clamp(rescale by factor n - 1 (sum (x - in_zero)) + out_zero), n as below */
typedef struct {
  TM_POOL_GEOMETRY
  int32_t lo, hi;
  int32_t count_padding;
  int32_t in_zero, out_zero;
  const int32_t *multiplier; /* fixed-point factor for each n, window_h * window_w, or NULL */
  const int8_t *shift;
  const float *scale; /* float factor for each n, or NULL */
} tm_avgpool_scaled_s8_params;

/* y = clamp(line of sum (x - in_zero)), the line of n values is the (n - least)-th */
typedef struct {
  TM_POOL_GEOMETRY
  int32_t lo, hi;
  int32_t count_padding;
  int32_t in_zero, least;
  int32_t up, down; /* see tm_line */
  const int32_t *multiplier;
  const int32_t *offset;
} tm_avgpool_line_s8_params;

typedef struct {
  TM_POOL_GEOMETRY
  float lo, hi;
  int32_t count_padding;
} tm_avgpool_f32_params;

/* The part of a window that lies inside the map: taps [y0, y1) x [x0, x1) in map coordinates. */
typedef struct {
  int32_t y0, y1, x0, x1;
} tm_pool_taps;

static inline tm_pool_taps tm_pool_window(int32_t oy, int32_t ox, int32_t in_h, int32_t in_w,
                                          int32_t window_h, int32_t window_w, int32_t stride_h,
                                          int32_t stride_w, int32_t pad_top, int32_t pad_left) {
  tm_pool_taps taps;
  const int32_t y = oy * stride_h - pad_top;
  const int32_t x = ox * stride_w - pad_left;
  taps.y0 = y < 0 ? 0 : y;
  taps.y1 = y + window_h > in_h ? in_h : y + window_h;
  taps.x0 = x < 0 ? 0 : x;
  taps.x1 = x + window_w > in_w ? in_w : x + window_w;
  return taps;
}

/* The row behind one that lies at `row`. */
static inline const uint8_t *tm_pool_next(const tm_rows *in, const uint8_t *row) {
  const uint8_t *const next = row + in->row_bytes;
  return in->ring != in->rows && next == in->base + in->ring * in->row_bytes ? in->base : next;
}

/* The sum of channel c over a window. */
static inline int32_t tm_pool_sum(const tm_rows *in, const tm_pool_taps *taps, int32_t channels,
                                  int32_t c) {
  const uint8_t *row = (const uint8_t *)tm_row(in, taps->y0);
  int32_t sum = 0;
  for (int32_t iy = taps->y0; iy < taps->y1; ++iy, row = tm_pool_next(in, row)) {
    const int8_t *x = (const int8_t *)row + taps->x0 * channels + c;
    for (int32_t ix = taps->x0; ix < taps->x1; ++ix) {
      sum += *x;
      x += channels;
    }
  }
  return sum;
}

/* The output of maximum pooling for channel c of a window. */
static inline int8_t tm_maxpool_one(const tm_maxpool_s8_params *p, const tm_rows *in,
                                    const tm_pool_taps *taps, int32_t c) {
  const uint8_t *row = (const uint8_t *)tm_row(in, taps->y0);
  int32_t most = p->lo;
  for (int32_t iy = taps->y0; iy < taps->y1; ++iy, row = tm_pool_next(in, row)) {
    const int8_t *x = (const int8_t *)row + taps->x0 * p->channels + c;
    for (int32_t ix = taps->x0; ix < taps->x1; ++ix) {
      most = *x > most ? *x : most;
      x += p->channels;
    }
  }
  return (int8_t)(most > p->hi ? p->hi : most);
}

/* The output of a window from sum x over the `inside` values in the map; line: its place. */
static inline int8_t tm_avgpool_line_one(const tm_avgpool_line_s8_params *p, int32_t sum,
                                         int32_t inside, int32_t line) {
  const int32_t y =
      tm_line(sum - inside * p->in_zero, p->up, p->multiplier[line], p->offset[line], p->down);
  return (int8_t)(y < p->lo ? p->lo : (y > p->hi ? p->hi : y));
}

#endif
