/* uint8 to int8 and back, the zero point moved by 128. No scratch. */
#include "tm_quantize.h"

static tm_status tm_recode_b8(const tm_recode_b8_params *p, const void *in, void *out,
                              void *scratch) {
  const uint8_t *x = (const uint8_t *)in;
  uint8_t *y = (uint8_t *)out;
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    y[i] = (uint8_t)(x[i] ^ 0x80u);
  }
  return TM_OK;
}
