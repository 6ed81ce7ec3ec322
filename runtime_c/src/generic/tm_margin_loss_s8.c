/* No scratch. */
#include "tm_loss.h"

static tm_status tm_margin_loss_s8(const tm_margin_loss_s8_params *p, const int8_t *y,
                                   const int32_t *label, float *loss, int16_t *g, int32_t *exponent,
                                   void *scratch) {
  int32_t close = 0;
  int32_t total = 0;
  int32_t right;
  (void)scratch;
  if (*label < 0 || *label >= p->count) {
    return TM_BAD_LABEL;
  }
  right = y[*label];
  for (int32_t i = 0; i < p->count; ++i) {
    if (i != *label && right - y[i] < p->bound) {
      ++close;
      total += right - y[i];
    }
  }
  {
    const float margins = (float)close * p->margin;
    const float ahead = (float)total * p->scale;
    const float rest = margins - ahead;
    *loss = rest * p->part;
  }
  *exponent = 0;
  if (close == 0) {
    for (int32_t i = 0; i < p->count; ++i) {
      g[i] = 0;
    }
  } else {
    const tm_loss_norm norm = tm_loss_norm_of(-close, 1, p->significand);
    const int16_t each = tm_loss_mantissa(&norm, 1);
    for (int32_t i = 0; i < p->count; ++i) {
      g[i] = right - y[i] < p->bound ? each : 0;
    }
    g[*label] = tm_loss_mantissa(&norm, -close);
    *exponent = norm.first + norm.second + p->exponent;
  }
  return TM_OK;
}
