/* A gradient, where its bit is set, times its channel's factor:
 *
 * h[r][k] = bit k of row r is set ? saturate(round(g[r][k] * multiplier[k % channels] * 2^-shift))
 *                                 : 0,
 *
 * saturated to [-limit, limit], rounded half up. `bits` is laid out as tm_clamp_mask.h says, or
 * NULL: all are set. h may be g.
 *
 * operands: const int16_t *g, const uint8_t *bits, const int16_t *multiplier (-32767 to 32767),
 * int16_t *h */
#ifndef TM_GRADIENT_GATE_H
#define TM_GRADIENT_GATE_H

#include <stddef.h>

#include "tm_gradient.h"
#include "tm_status.h"

typedef struct {
  int32_t rows;        /* of all images */
  int32_t row;         /* elements of a row, whole pixels */
  int32_t channels;    /* of a pixel */
  int32_t per_channel; /* a multiplier for each channel, else one for all */
  int32_t shift;       /* in [0, 31] */
  int32_t limit;       /* 1 to 32767 */
} tm_gradient_gate_s16_params;

#endif
