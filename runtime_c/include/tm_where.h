/* y = chosen ? a : b, broadcast to `shape` by strides (in bytes, 0 where an input repeats).
 * Input and output do not overlap. */
#ifndef TM_WHERE_H
#define TM_WHERE_H

#include "tm_move.h"

typedef struct {
  int32_t element; /* bytes of one */
  int32_t shape[TM_MOVE_RANK];
  int32_t chosen_strides[TM_MOVE_RANK];
  int32_t first_strides[TM_MOVE_RANK];
  int32_t second_strides[TM_MOVE_RANK];
} tm_where_b8_params;

#endif
