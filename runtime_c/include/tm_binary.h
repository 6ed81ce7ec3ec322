/* Elementwise functions of two inputs, broadcast to `shape` by strides (in elements, 0 where an
 * input repeats). An input of the output's shape may be the output. */
#ifndef TM_BINARY_H
#define TM_BINARY_H

#include <stdint.h>

#include "tm_status.h"

#define TM_BINARY_RANK 6

#define TM_BINARY_GEOMETRY                                 \
  int32_t count; /* elements of the output */              \
  int32_t same;  /* both inputs have the output's shape */ \
  int32_t shape[TM_BINARY_RANK];                           \
  int32_t first_strides[TM_BINARY_RANK];                   \
  int32_t second_strides[TM_BINARY_RANK];

/* y = clamp(f(a, b)) */
typedef struct {
  TM_BINARY_GEOMETRY
  float lo, hi;
} tm_binary_f32_params;

/* y = clamp(rint(f((a - za) * sa, (b - zb) * sb) / sy) + zy), in float32, half to even */
typedef struct {
  TM_BINARY_GEOMETRY
  int32_t first_zero, second_zero, out_zero, lo, hi;
  float first_scale, second_scale, out_scale;
} tm_binary_real_s8_params;

/* y = clamp(fixed(fixed((a - za) << 20) +- fixed((b - zb) << 20)) + zy) */
typedef struct {
  TM_BINARY_GEOMETRY
  int32_t first_zero, second_zero, out_zero, lo, hi;
  int32_t first_multiplier, first_shift, second_multiplier, second_shift, multiplier, shift;
} tm_sum_s8_params;

/* y = clamp(fixed((a - za) * (b - zb)) + zy) */
typedef struct {
  TM_BINARY_GEOMETRY
  int32_t first_zero, second_zero, out_zero, lo, hi;
  int32_t multiplier, shift;
} tm_mul_s8_params;

/* y = clamp((a * first_factor + b * second_factor + bias) >> shift); the sum, taken modulo
 * 2^32, fits 32 bits, the factors 24 */
typedef struct {
  TM_BINARY_GEOMETRY
  int32_t first_factor, second_factor, bias, shift, lo, hi;
} tm_plane_s8_params;

/* y = clamp(bent line of (a - za) * (b - zb)), see tm_line.h */
typedef struct {
  TM_BINARY_GEOMETRY
  int32_t first_zero, second_zero;
  int32_t up, multiplier, offset, bend, down, lo, hi;
} tm_product_s8_params;

typedef tm_sum_s8_params tm_add_s8_params;
typedef tm_sum_s8_params tm_sub_s8_params;
typedef tm_binary_f32_params tm_add_f32_params;
typedef tm_binary_f32_params tm_sub_f32_params;
typedef tm_binary_f32_params tm_mul_f32_params;
typedef tm_binary_f32_params tm_div_f32_params;
typedef tm_binary_f32_params tm_min_f32_params;
typedef tm_binary_f32_params tm_max_f32_params;
typedef tm_binary_f32_params tm_pow_f32_params;
typedef tm_binary_real_s8_params tm_add_real_s8_params;
typedef tm_binary_real_s8_params tm_sub_real_s8_params;
typedef tm_binary_real_s8_params tm_mul_real_s8_params;
typedef tm_binary_real_s8_params tm_div_real_s8_params;
typedef tm_binary_real_s8_params tm_min_real_s8_params;
typedef tm_binary_real_s8_params tm_max_real_s8_params;
typedef tm_binary_real_s8_params tm_pow_real_s8_params;

/* The body of a kernel: calls `one(p, a, b)` for each element of the output. */
#define TM_BINARY_KERNEL(kernel, params, element, one) \
  TM_BROADCAST_KERNEL(kernel, params, element, element, one)

/* The same where the output has a type of its own. */
#define TM_BROADCAST_KERNEL(kernel, params, element, result, one)                           \
  static tm_status kernel(const params *p, const element *a, const element *b, result *out, \
                          void *scratch) {                                                  \
    const int32_t last = TM_BINARY_RANK - 1;                                                \
    int32_t index[TM_BINARY_RANK] = {0};                                                    \
    int32_t i = 0;                                                                          \
    int32_t j = 0;                                                                          \
    (void)scratch;                                                                          \
    if (p->same) {                                                                          \
      for (int32_t k = 0; k < p->count; ++k) {                                              \
        out[k] = one(p, a[k], b[k]);                                                        \
      }                                                                                     \
      return TM_OK;                                                                         \
    }                                                                                       \
    for (int32_t k = 0; k < p->count; k += p->shape[last]) {                                \
      const element *x = a + i;                                                             \
      const element *y = b + j;                                                             \
      for (int32_t n = 0; n < p->shape[last]; ++n) {                                        \
        out[k + n] = one(p, *x, *y);                                                        \
        x += p->first_strides[last];                                                        \
        y += p->second_strides[last];                                                       \
      }                                                                                     \
      for (int32_t axis = last - 1; axis >= 0; --axis) {                                    \
        i += p->first_strides[axis];                                                        \
        j += p->second_strides[axis];                                                       \
        if (++index[axis] < p->shape[axis]) {                                               \
          break;                                                                            \
        }                                                                                   \
        i -= p->first_strides[axis] * p->shape[axis];                                       \
        j -= p->second_strides[axis] * p->shape[axis];                                      \
        index[axis] = 0;                                                                    \
      }                                                                                     \
    }                                                                                       \
    return TM_OK;                                                                           \
  }

#endif
