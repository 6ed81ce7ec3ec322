/* Integers clamped. No scratch. */
#include "tm_unary.h"

static tm_status tm_clip_s8(const tm_clip_s8_params *p, const int8_t *in, int8_t *out,
                            void *scratch) {
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    out[i] = (int8_t)(in[i] < p->lo ? p->lo : (in[i] > p->hi ? p->hi : in[i]));
  }
  return TM_OK;
}
