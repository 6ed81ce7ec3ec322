/* Slices of any type. No scratch. */
#include "tm_move.h"

static tm_status tm_slice_b8(const tm_slice_b8_params *p, const void *in, void *out,
                             void *scratch) {
  int32_t index[TM_MOVE_RANK] = {0};
  uint8_t *y = (uint8_t *)out;
  (void)scratch;
  do {
    int32_t place = p->offset;
    for (int32_t axis = 0; axis < TM_MOVE_RANK; ++axis) {
      place += index[axis] * p->strides[axis];
    }
    memcpy(y, (const uint8_t *)in + place, (size_t)p->element);
    y += p->element;
  } while (tm_next_index(index, p->shape));
  return TM_OK;
}
