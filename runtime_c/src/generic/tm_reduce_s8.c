/* Maximum or minimum of int8 values. No scratch. */
#include "tm_reduce.h"

static tm_status tm_reduce_s8(const tm_reduce_s8_params *p, const int8_t *in, int8_t *out,
                              void *scratch) {
  int32_t kept[TM_REDUCE_RANK] = {0};
  int32_t offset = 0;
  (void)scratch;
  do {
    int32_t index[TM_REDUCE_RANK] = {0};
    int32_t place = 0;
    int8_t best = in[offset];
    do {
      const int8_t x = in[offset + place];
      if (p->function == TM_REDUCE_MAX ? x > best : x < best) {
        best = x;
      }
    } while (tm_reduce_next(index, p->reduced_shape, p->reduced_strides, &place));
    *out++ = best;
  } while (tm_reduce_next(kept, p->kept_shape, p->kept_strides, &offset));
  return TM_OK;
}
