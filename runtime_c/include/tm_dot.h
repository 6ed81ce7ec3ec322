/* Sum of products of int8, the inner loop of plain convolutions and fully connected layers. */
#ifndef TM_DOT_H
#define TM_DOT_H

#include <stdint.h>

/* acc + sum x[i] * (w[i] - zero) */
static inline int32_t tm_dot_s8(int32_t acc, const int8_t *x, const int8_t *w, int32_t count,
                                int32_t zero) {
  int32_t i = 0;
  if (zero != 0) {
    for (; i < count; ++i) {
      acc += x[i] * (w[i] - zero);
    }
    return acc;
  }
  for (; i + 4 <= count; i += 4) {
    acc += x[i] * w[i];
    acc += x[i + 1] * w[i + 1];
    acc += x[i + 2] * w[i + 2];
    acc += x[i + 3] * w[i + 3];
  }
  for (; i < count; ++i) {
    acc += x[i] * w[i];
  }
  return acc;
}

#endif
