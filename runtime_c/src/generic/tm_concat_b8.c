/* Concatenation of up to 16 inputs of any type. No scratch. */
#include "tm_move.h"

static tm_status tm_concat_b8(const tm_concat_b8_params *p, const void *in0, const void *in1,
                              const void *in2, const void *in3, const void *in4, const void *in5,
                              const void *in6, const void *in7, const void *in8, const void *in9,
                              const void *in10, const void *in11, const void *in12,
                              const void *in13, const void *in14, const void *in15, void *out,
                              void *scratch) {
  const void *const in[TM_MOVE_PIECES] = {in0, in1, in2,  in3,  in4,  in5,  in6,  in7,
                                          in8, in9, in10, in11, in12, in13, in14, in15};
  uint8_t *y = (uint8_t *)out;
  (void)scratch;
  for (int32_t o = 0; o < p->outer; ++o) {
    for (int32_t i = 0; i < p->pieces; ++i) {
      const size_t bytes = (size_t)p->bytes[i];
      memcpy(y, (const uint8_t *)in[i] + (size_t)o * bytes, bytes);
      y += bytes;
    }
  }
  return TM_OK;
}
