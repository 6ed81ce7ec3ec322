/* Rescaling in one product, where the compiler has proven it equal to the definition. */
#ifndef TM_LINE_H
#define TM_LINE_H

#include <stdint.h>

/* (high half of (x << up) * multiplier, plus offset) >> down, rounded down */
static inline int32_t tm_line(int32_t x, int32_t up, int32_t multiplier, int32_t offset,
                              int32_t down) {
  const int32_t shifted = (int32_t)((uint32_t)x << up);
  return ((int32_t)(((int64_t)shifted * multiplier) >> 32) + offset) >> down;
}

/* The same, `bend` less for x < 0, where the definition rounds away from zero. */
static inline int32_t tm_bent_line(int32_t x, int32_t up, int32_t multiplier, int32_t offset,
                                   int32_t bend, int32_t down) {
  return tm_line(x, up, multiplier, offset - (x < 0 ? bend : 0), down);
}

#endif
