/* Softmax of int8 to int16 in gemmlowp's fixed point. No scratch. */
#include "tm_fixed_softmax.h"
#include "tm_softmax.h"

static tm_status tm_softmax_s8_s16(const tm_softmax_s8_params *p, const int8_t *in, int16_t *out,
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
      int32_t y = tm_divide_pot(tm_doubling_high(power, factor), exponent - 16) + INT16_MIN;
      y = power == 0 ? INT16_MIN : (y > INT16_MAX ? INT16_MAX : y);
      out[i] = (int16_t)(y < INT16_MIN ? INT16_MIN : y);
    }
    in += p->depth;
    out += p->depth;
  }
  return TM_OK;
}
