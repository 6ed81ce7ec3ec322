/* The number of the next step: counter += 1, modulo 2^32.
 *
 * operands: int32_t *counter. No params. */
#ifndef TM_COUNT_STEP_H
#define TM_COUNT_STEP_H

#include <stdint.h>

#include "tm_status.h"

#endif
