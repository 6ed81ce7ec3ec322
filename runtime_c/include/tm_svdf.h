/* SVDF. For each sequence of the batch the history [units * rank][memory] moves on by one place;
 * the newest place of each filter is the sum of x times its features; then
 *   y[u] = second(bias[u] + sum over the filters f of u of (history[f] - history_zero) . times[f])
 * with history = saturate(first(sum (x - in_zero) * features[f]) + history_zero). Nothing
 * overlaps. */
#ifndef TM_SVDF_H
#define TM_SVDF_H

#include <stdint.h>
#include <string.h>

#include "tm_status.h"

#define TM_SVDF_GEOMETRY                                      \
  int32_t batch, depth; /* sequences, elements of an input */ \
  int32_t units, rank;  /* outputs, filters of each */        \
  int32_t memory;       /* places of a filter's history */

typedef struct {
  TM_SVDF_GEOMETRY
  int32_t in_zero, history_zero, out_zero;
  int32_t first_multiplier, first_shift, second_multiplier, second_shift;
} tm_svdf_s8_params;

typedef tm_svdf_s8_params tm_svdf_s8_s8_params;
typedef tm_svdf_s8_params tm_svdf_s8_s16_params;

typedef struct {
  TM_SVDF_GEOMETRY
  float lo, hi;
} tm_svdf_f32_params;

/* The body of the int8 kernels; `state` is the type of history and times, of `least` to `most`. */
#define TM_SVDF_S8_KERNEL(kernel, state, least, most)                                           \
  static tm_status kernel(const tm_svdf_s8_params *p, const int8_t *in, const int8_t *features, \
                          const state *times, const int32_t *bias, state *history, int8_t *out, \
                          void *scratch) {                                                      \
    (void)scratch;                                                                              \
    for (int32_t n = 0; n < p->batch; ++n) {                                                    \
      for (int32_t u = 0; u < p->units; ++u) {                                                  \
        int32_t total = bias[u];                                                                \
        for (int32_t f = u * p->rank; f < (u + 1) * p->rank; ++f) {                             \
          int32_t sum = 0;                                                                      \
          int32_t newest;                                                                       \
          for (int32_t i = 0; i < p->depth; ++i) {                                              \
            sum += features[f * p->depth + i] * (in[i] - p->in_zero);                           \
          }                                                                                     \
          memmove(history, history + 1, (size_t)(p->memory - 1) * sizeof(state));               \
          newest = tm_scale_fixed(sum, p->first_multiplier, p->first_shift);                    \
          history[p->memory - 1] = (state)tm_clamp(newest + p->history_zero, least, most);      \
          for (int32_t m = 0; m < p->memory; ++m) {                                             \
            total += times[f * p->memory + m] * (history[m] - p->history_zero);                 \
          }                                                                                     \
          history += p->memory;                                                                 \
        }                                                                                       \
        total = tm_scale_fixed(total, p->second_multiplier, p->second_shift);                   \
        *out++ = (int8_t)tm_clamp(total + p->out_zero, INT8_MIN, INT8_MAX);                     \
      }                                                                                         \
      in += p->depth;                                                                           \
    }                                                                                           \
    return TM_OK;                                                                               \
  }

#endif
