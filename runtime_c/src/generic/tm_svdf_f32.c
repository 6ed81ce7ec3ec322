/* SVDF of floats. No scratch. */
#include "tm_svdf.h"

static tm_status tm_svdf_f32(const tm_svdf_f32_params *p, const float *in, const float *features,
                             const float *times, const float *bias, float *history, float *out,
                             void *scratch) {
  (void)scratch;
  for (int32_t n = 0; n < p->batch; ++n) {
    for (int32_t u = 0; u < p->units; ++u) {
      float total = bias[u];
      for (int32_t f = u * p->rank; f < (u + 1) * p->rank; ++f) {
        float newest = 0.0f;
        for (int32_t i = 0; i < p->depth; ++i) {
          newest += features[f * p->depth + i] * in[i];
        }
        memmove(history, history + 1, (size_t)(p->memory - 1) * sizeof(float));
        history[p->memory - 1] = newest;
        for (int32_t m = 0; m < p->memory; ++m) {
          total += times[f * p->memory + m] * history[m];
        }
        history += p->memory;
      }
      total = total < p->lo ? p->lo : total;
      *out++ = total > p->hi ? p->hi : total;
    }
    in += p->depth;
  }
  return TM_OK;
}
