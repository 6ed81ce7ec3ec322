/* No scratch. */
#include "tm_count_step.h"

static tm_status tm_count_step_s32(const tm_count_step_s32_params *p, int32_t *counter,
                                   void *scratch) {
  (void)scratch;
  *counter = (int32_t)((uint32_t)*counter + (uint32_t)p->steps);
  return TM_OK;
}
