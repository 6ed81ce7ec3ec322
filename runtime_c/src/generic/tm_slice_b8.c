/* Slices of any type. No scratch. */
#include "tm_move.h"

static tm_status tm_slice_b8(const tm_slice_b8_params *p, const void *in, void *out,
                             void *scratch) {
  (void)scratch;
  tm_move((uint8_t *)out, (const uint8_t *)in + p->offset, p->element, p->shape, p->strides);
  return TM_OK;
}
