/* Plain product of matrices of floats. No scratch. */
#include "tm_matmul.h"

static tm_status tm_matmul_f32(const tm_matmul_f32_params *p, const float *a, const float *b,
                               float *out, void *scratch) {
  int32_t index[TM_MATMUL_RANK] = {0};
  int32_t first = 0;
  int32_t second = 0;
  (void)scratch;
  for (int32_t n = 0; n < p->batch; ++n) {
    for (int32_t r = 0; r < p->rows; ++r) {
      for (int32_t c = 0; c < p->columns; ++c) {
        float acc = 0.0f;
        for (int32_t i = 0; i < p->depth; ++i) {
          acc += a[first + r * p->depth + i] * b[second + i * p->columns + c];
        }
        *out++ = acc;
      }
    }
    tm_matmul_next(index, p->shape, &first, p->first_strides, &second, p->second_strides);
  }
  return TM_OK;
}
