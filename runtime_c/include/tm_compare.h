/* Comparison and logic of two inputs, broadcast as tm_binary.h says; the output is 0 or 1. */
#ifndef TM_COMPARE_H
#define TM_COMPARE_H

#include "tm_binary.h"

typedef struct {
  TM_BINARY_GEOMETRY
} tm_compare_params;

#define TM_COMPARE_KERNEL(kernel, element, one) \
  typedef tm_compare_params kernel##_params;    \
  TM_BROADCAST_KERNEL(kernel, tm_compare_params, element, uint8_t, one)

#endif
