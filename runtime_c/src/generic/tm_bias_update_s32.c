/* Sums of one channel at a time. No scratch. */
#include "tm_bias_update.h"

static tm_status tm_bias_update_s32(const tm_bias_update_s32_params *p, const int16_t *h,
                                    const int32_t *exponent, const float *rate,
                                    const int32_t *counter, const float *coefficient, int32_t *bias,
                                    void *scratch) {
  const uint32_t seed = tm_update_seed((uint32_t)*counter, (uint32_t)p->layer);
  (void)scratch;
  for (int32_t o = 0; o < p->channels; ++o) {
    const int16_t *from = h + o;
    int32_t sum = 0;
    for (int32_t left = p->pixels; left > 0; --left) {
      sum += *from;
      from += p->channels;
    }
    bias[o] = tm_update_bias(bias[o], sum, tm_update_factor(*rate, coefficient[o], *exponent),
                             p->stochastic, seed, (uint32_t)o);
  }
  return TM_OK;
}
