/* Softmax of int8 to int8 in gemmlowp's fixed point. No scratch. */
#include "tm_fixed_softmax.h"
#include "tm_softmax.h"

static tm_status tm_softmax_s8_s8(const tm_softmax_s8_params *p, const int8_t *in, int8_t *out,
                                  void *scratch) {
  (void)scratch;
  for (int32_t r = 0; r < p->rows; ++r) {
    int32_t most = in[0];
    int32_t sum = 0;
    int32_t exponent;
    int32_t factor;
    for (int32_t i = 1; i < p->depth; ++i) {
      most = in[i] > most ? in[i] : most;
    }
    for (int32_t i = 0; i < p->depth; ++i) {
      sum += tm_divide_pot(p->exponential[most - in[i]], 12);
    }
    factor = tm_softmax_factor(sum, &exponent);
    for (int32_t i = 0; i < p->depth; ++i) {
      const int32_t power = p->exponential[most - in[i]];
      int32_t y = tm_divide_pot(tm_doubling_high(power, factor), exponent - 8) + INT8_MIN;
      y = power == 0 ? INT8_MIN : (y > INT8_MAX ? INT8_MAX : y);
      out[i] = (int8_t)(y < INT8_MIN ? INT8_MIN : y);
    }
    in += p->depth;
    out += p->depth;
  }
  return TM_OK;
}
