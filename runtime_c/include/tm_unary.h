/* Elementwise functions of one input, from the first element to the last. The output may be the
 * input. */
#ifndef TM_UNARY_H
#define TM_UNARY_H

#include <math.h>
#include <stdint.h>

#include "tm_status.h"

/* y = f(x); what alpha and beta mean stands with each function */
typedef struct {
  int32_t count;
  float alpha, beta;
} tm_unary_f32_params;

/* y = clamp(x, lo, hi) */
typedef struct {
  int32_t count;
  int32_t lo, hi;
} tm_clip_s8_params;

/* y = !x */
typedef struct {
  int32_t count;
} tm_not_b8_params;

static inline float tm_unit(float x) {
  return x < 0.0f ? 0.0f : (x > 1.0f ? 1.0f : x);
}

/* ln(1 + e^x) without overflow */
static inline float tm_softplus(float x) {
  return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x)));
}

/* A kernel whose output is `formula`, an expression of the float x and the params p. */
#define TM_UNARY_KERNEL(kernel, formula)                                             \
  typedef tm_unary_f32_params kernel##_params;                                       \
  static tm_status kernel(const tm_unary_f32_params *p, const float *in, float *out, \
                          void *scratch) {                                           \
    (void)scratch;                                                                   \
    for (int32_t i = 0; i < p->count; ++i) {                                         \
      const float x = in[i];                                                         \
      out[i] = (formula);                                                            \
    }                                                                                \
    return TM_OK;                                                                    \
  }

#endif
