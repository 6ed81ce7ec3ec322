/* The sum of two gradients of different exponents:
 *
 * y = saturate(round((a * first_factor + b * second_factor) * 2^-shift)),
 *
 * saturated to [-limit, limit], rounded half up. y may be a or b.
 *
 * operands: const int16_t *a, const int16_t *b, int16_t *y */
#ifndef TM_GRADIENT_ADD_H
#define TM_GRADIENT_ADD_H

#include "tm_gradient.h"
#include "tm_status.h"

typedef struct {
  int32_t count;                       /* elements */
  int32_t first_factor, second_factor; /* 0 to 2^14 */
  int32_t shift;                       /* in [0, 31] */
  int32_t limit;                       /* 1 to 32767 */
} tm_gradient_add_s16_params;

#endif
