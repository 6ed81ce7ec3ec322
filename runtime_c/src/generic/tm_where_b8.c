/* Elements of one of two inputs, chosen by booleans; any type. No scratch. */
#include "tm_where.h"

static tm_status tm_where_b8(const tm_where_b8_params *p, const uint8_t *chosen, const void *a,
                             const void *b, void *out, void *scratch) {
  int32_t index[TM_MOVE_RANK] = {0};
  uint8_t *y = (uint8_t *)out;
  (void)scratch;
  do {
    int32_t i = 0;
    int32_t j = 0;
    int32_t k = 0;
    for (int32_t axis = 0; axis < TM_MOVE_RANK; ++axis) {
      i += index[axis] * p->chosen_strides[axis];
      j += index[axis] * p->first_strides[axis];
      k += index[axis] * p->second_strides[axis];
    }
    memcpy(y, chosen[i] ? (const uint8_t *)a + j : (const uint8_t *)b + k, (size_t)p->element);
    y += p->element;
  } while (tm_next_index(index, p->shape));
  return TM_OK;
}
