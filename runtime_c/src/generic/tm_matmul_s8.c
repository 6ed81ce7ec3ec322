/* Plain product of matrices of int8, the ONNX definition. No scratch. */
#include "tm_matmul.h"
#include "tm_rescale.h"

static tm_status tm_matmul_s8(const tm_matmul_s8_params *p, const int8_t *a, const int8_t *b,
                              int8_t *out, void *scratch) {
  int32_t index[TM_MATMUL_RANK] = {0};
  int32_t first = 0;
  int32_t second = 0;
  (void)scratch;
  for (int32_t n = 0; n < p->batch; ++n) {
    for (int32_t r = 0; r < p->rows; ++r) {
      for (int32_t c = 0; c < p->columns; ++c) {
        int32_t acc = 0;
        for (int32_t i = 0; i < p->depth; ++i) {
          acc += (a[first + r * p->depth + i] - p->first_zero) *
                 (b[second + i * p->columns + c] - p->second_zero);
        }
        acc = tm_round_even((float)acc * p->scale) + p->out_zero;
        *out++ = (int8_t)tm_clamp(acc, INT8_MIN, INT8_MAX);
      }
    }
    tm_matmul_next(index, p->shape, &first, p->first_strides, &second, p->second_strides);
  }
  return TM_OK;
}
