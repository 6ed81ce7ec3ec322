/* Gathers places of any type by int32_t indices. No scratch. */
#include "tm_move.h"

static tm_status tm_gather_s32(const tm_gather_params *p, const void *in, const int32_t *indices,
                               void *out, void *scratch) {
  uint8_t *y = (uint8_t *)out;
  (void)scratch;
  for (int32_t o = 0; o < p->outer; ++o) {
    const uint8_t *x = (const uint8_t *)in + (size_t)o * (size_t)p->size * (size_t)p->bytes;
    for (int32_t i = 0; i < p->count; ++i) {
      const int32_t at = indices[i] < 0 ? indices[i] + p->size : indices[i];
      if (at < 0 || at >= p->size) {
        return TM_BAD_ARGUMENT;
      }
      memcpy(y, x + (size_t)at * (size_t)p->bytes, (size_t)p->bytes);
      y += p->bytes;
    }
  }
  return TM_OK;
}
