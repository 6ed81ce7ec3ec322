/* A copy. No scratch. */
#include "tm_move.h"

static tm_status tm_copy_b8(const tm_copy_b8_params *p, const void *in, void *out, void *scratch) {
  (void)scratch;
  memcpy(out, in, (size_t)p->bytes);
  return TM_OK;
}
