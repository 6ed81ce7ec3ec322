/* Cuts an input of any type into up to 16 pieces. No scratch. */
#include "tm_move.h"

static tm_status tm_split_b8(const tm_split_b8_params *p, const void *in, void *out0, void *out1,
                             void *out2, void *out3, void *out4, void *out5, void *out6, void *out7,
                             void *out8, void *out9, void *out10, void *out11, void *out12,
                             void *out13, void *out14, void *out15, void *scratch) {
  void *const out[TM_MOVE_PIECES] = {out0, out1, out2,  out3,  out4,  out5,  out6,  out7,
                                     out8, out9, out10, out11, out12, out13, out14, out15};
  const uint8_t *x = (const uint8_t *)in;
  (void)scratch;
  for (int32_t o = 0; o < p->outer; ++o) {
    for (int32_t i = 0; i < p->pieces; ++i) {
      const size_t bytes = (size_t)p->bytes[i];
      memcpy((uint8_t *)out[i] + (size_t)o * bytes, x, bytes);
      x += bytes;
    }
  }
  return TM_OK;
}
