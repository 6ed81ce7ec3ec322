/* No scratch. */
#include "tm_loss.h"

static tm_status tm_softmax_loss_s8(const tm_softmax_loss_s8_params *p, const int8_t *y,
                                    const int32_t *label, float *loss, int16_t *g,
                                    int32_t *exponent, void *scratch) {
  int32_t most = INT8_MIN;
  int64_t total = 0;
  int64_t greatest = 0;
  int64_t wrong;
  int32_t bits;
  (void)scratch;
  if (*label < 0 || *label >= p->count) {
    return TM_BAD_LABEL;
  }
  for (int32_t i = 0; i < p->count; ++i) {
    most = y[i] > most ? y[i] : most;
  }
  for (int32_t i = 0; i < p->count; ++i) {
    const int32_t t = p->table[most - y[i]];
    total += t;
    if (i != *label && t > greatest) {
      greatest = t;
    }
  }
  {
    const float ahead = (float)(most - y[*label]) * p->scale;
    const float behind = 16.6355324f; /* 24 ln 2 */
    const float sum = tm_loss_log((uint64_t)total);
    const float rest = sum - behind;
    *loss = ahead + rest;
  }
  wrong = p->table[most - y[*label]] - total;
  if (wrong == 0) {
    for (int32_t i = 0; i < p->count; ++i) {
      g[i] = 0;
    }
    *exponent = 0;
    return TM_OK;
  }
  bits = tm_loss_bits((uint64_t)total);
  {
    const uint64_t divisor =
        bits > 31 ? (uint64_t)total >> (bits - 31) : (uint64_t)total << (31 - bits);
    const uint64_t quotient = ((uint64_t)p->significand << 14) / divisor;
    const tm_loss_norm norm = tm_loss_norm_of(wrong, greatest, (int64_t)quotient);
    for (int32_t i = 0; i < p->count; ++i) {
      g[i] = tm_loss_mantissa(&norm, i == *label ? wrong : p->table[most - y[i]]);
    }
    *exponent = norm.first + norm.second + p->exponent - 14 - (bits - 31);
  }
  return TM_OK;
}
