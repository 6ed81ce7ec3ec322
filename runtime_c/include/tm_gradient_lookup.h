/* The gradient of a function of one int8 value, by its slopes:
 *
 * y[k] = saturate(round(g[k] * table[q[k] + 128] * 2^-shift)),
 *
 * saturated to [-limit, limit], rounded half up. y may be g.
 *
 * operands: const int16_t *g, const int8_t *q, int16_t *y */
#ifndef TM_GRADIENT_LOOKUP_H
#define TM_GRADIENT_LOOKUP_H

#include "tm_gradient.h"
#include "tm_status.h"

typedef struct {
  int32_t count;        /* elements */
  int32_t shift;        /* in [0, 31] */
  int32_t limit;        /* 1 to 32767 */
  const int16_t *table; /* -32767 to 32767 */
} tm_gradient_lookup_s16_params;

#endif
