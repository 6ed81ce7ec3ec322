/* No scratch. */
#include "tm_loss.h"

static tm_status tm_squared_loss_s8(const tm_squared_loss_s8_params *p, const int8_t *y,
                                    const int8_t *target, float *loss, int16_t *g,
                                    int32_t *exponent, void *scratch) {
  int32_t least = 0;
  int32_t most = 0;
  int32_t sum = 0;
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    const int32_t r = y[i] - target[i];
    least = r < least ? r : least;
    most = r > most ? r : most;
    sum += r * r;
  }
  *loss = (float)sum * p->factor;
  *exponent = 0;
  if (sum == 0) {
    for (int32_t i = 0; i < p->count; ++i) {
      g[i] = 0;
    }
  } else {
    const tm_loss_norm norm = tm_loss_norm_of(least, most, p->significand);
    for (int32_t i = 0; i < p->count; ++i) {
      g[i] = tm_loss_mantissa(&norm, y[i] - target[i]);
    }
    *exponent = norm.first + norm.second + p->exponent;
  }
  return TM_OK;
}
