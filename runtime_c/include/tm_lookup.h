/* A function of one byte as a table: y = table[x + 128]. The output may be the input. */
#ifndef TM_LOOKUP_H
#define TM_LOOKUP_H

#include <stdint.h>

#include "tm_status.h"

typedef struct {
  int32_t count;
  const int8_t *table; /* 256 of them */
} tm_lookup_s8_params;

#endif
