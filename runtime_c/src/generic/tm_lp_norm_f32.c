/* Rows of floats divided by their norm. No scratch. */
#include "tm_normalize.h"

static tm_status tm_lp_norm_f32(const tm_lp_norm_f32_params *p, const float *in, float *out,
                                void *scratch) {
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    float norm = 0.0f;
    for (int32_t i = 0; i < p->depth; ++i) {
      norm += p->order == 1 ? fabsf(in[i]) : in[i] * in[i];
    }
    norm = p->order == 1 ? norm : sqrtf(norm);
    norm = norm < p->least ? p->least : norm;
    for (int32_t i = 0; i < p->depth; ++i) {
      out[i] = norm > 0.0f ? in[i] / norm : 0.0f;
    }
    in += p->depth;
    out += p->depth;
  }
  return TM_OK;
}
