/* The number of the next step: counter += steps, modulo 2^32.
 *
 * operands: int32_t *counter. */
#ifndef TM_COUNT_STEP_H
#define TM_COUNT_STEP_H

#include <stdint.h>

#include "tm_status.h"

typedef struct {
  int32_t steps;
} tm_count_step_s32_params;

#endif
