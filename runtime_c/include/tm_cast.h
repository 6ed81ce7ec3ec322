/* Between number types. Floats become integers by cutting off the fraction, clamped to the type's
 * range, NaN to 0; integers that do not fit a smaller type lose their upper bits. Input and
 * output do not overlap, except that between floats and bytes the output may start where the
 * input starts (floats to bytes) or end where it ends (bytes to floats). */
#ifndef TM_CAST_H
#define TM_CAST_H

#include <stdint.h>
#include <string.h>

#include "tm_status.h"

typedef struct {
  int32_t count;
} tm_cast_params;

/* Integers and booleans of `from` bytes, with a sign or without, to integers of `to` bytes, or
 * to booleans. */
typedef struct {
  int32_t count, from, to;
  int32_t is_signed;
  int32_t to_bool;
} tm_cast_b8_params;

/* A kernel whose output is `formula`, an expression of the input element x. */
#define TM_CAST_KERNEL(kernel, element, result, formula)                           \
  typedef tm_cast_params kernel##_params;                                          \
  static tm_status kernel(const tm_cast_params *p, const element *in, result *out, \
                          void *scratch) {                                         \
    (void)scratch;                                                                 \
    for (int32_t i = 0; i < p->count; ++i) {                                       \
      const element x = in[i];                                                     \
      out[i] = (result)(formula);                                                  \
    }                                                                              \
    return TM_OK;                                                                  \
  }

/* The float x as an integer type with this range; `over` is the first float above it. */
#define TM_CUT(x, type, least, most, over) \
  ((x) >= (over) ? (most) : ((x) >= -(over) ? (type)(x) : ((x) == (x) ? (least) : 0)))

#endif
