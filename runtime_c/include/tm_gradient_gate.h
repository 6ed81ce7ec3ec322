/* A gradient, where its bit is set, times its channel's factor:
 *
 * h[row][k] = bit k of the row ? saturate(round(g[row][k] * multiplier[k % channels] * 2^-shift))
 *                              : 0,
 *
 * saturated to [-limit, limit], rounded half up. `bits` is laid out as tm_clamp_mask.h says, or
 * NULL: all are set. h may be g. */
#ifndef TM_GRADIENT_GATE_H
#define TM_GRADIENT_GATE_H

#include <stddef.h>

#include "tm_gradient.h"
#include "tm_status.h"

typedef struct {
  int32_t rows;     /* of all images */
  int32_t columns;  /* pixels of a row */
  int32_t channels; /* of a pixel */
  int32_t single;   /* one multiplier serves all channels */
  int32_t shift;    /* in [-15, 31] */
  int32_t limit;    /* at most 32767 */
} tm_gradient_gate_s16_params;

/* operands: const int16_t *g, const uint8_t *bits, const int16_t *multiplier (0 to 32767),
 * int16_t *h */

#endif
