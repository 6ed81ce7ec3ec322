/* Padding of any type. No scratch. */
#include "tm_move.h"

static tm_status tm_pad_b8(const tm_pad_b8_params *p, const void *in, void *out, void *scratch) {
  int32_t index[TM_MOVE_RANK] = {0};
  uint8_t *y = (uint8_t *)out;
  (void)scratch;
  do {
    int32_t place = 0;
    int32_t inside = 1;
    for (int32_t axis = 0; axis < TM_MOVE_RANK; ++axis) {
      const int32_t last = p->source[axis] - 1;
      int32_t at = index[axis] - p->before[axis];
      if (at < 0 || at > last) {
        inside = inside && p->mode != 0;
        if (p->mode == 1) {
          at = at < 0 ? -at : 2 * last - at;
        } else {
          at = at < 0 ? 0 : last;
        }
      }
      place = place * p->source[axis] + at;
    }
    memcpy(y, inside ? (const uint8_t *)in + place * p->element : p->fill, (size_t)p->element);
    y += p->element;
  } while (tm_next_index(index, p->shape));
  return TM_OK;
}
