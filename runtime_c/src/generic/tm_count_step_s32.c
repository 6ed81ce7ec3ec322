/* No scratch. */
#include "tm_count_step.h"

static tm_status tm_count_step_s32(const void *p, int32_t *counter, void *scratch) {
  (void)p;
  (void)scratch;
  *counter = (int32_t)((uint32_t)*counter + 1u);
  return TM_OK;
}
