/* Transposition of any type. No scratch. */
#include "tm_move.h"

static tm_status tm_transpose_b8(const tm_transpose_b8_params *p, const void *in, void *out,
                                 void *scratch) {
  int32_t index[TM_MOVE_RANK] = {0};
  uint8_t *y = (uint8_t *)out;
  (void)scratch;
  do {
    const uint8_t *x = (const uint8_t *)in;
    for (int32_t axis = 0; axis < TM_MOVE_RANK; ++axis) {
      x += index[axis] * p->strides[axis];
    }
    memcpy(y, x, (size_t)p->element);
    y += p->element;
  } while (tm_next_index(index, p->shape));
  return TM_OK;
}
