/* Moves the rows of a window and puts new ones at its ends. No scratch. */
#include "tm_move.h"

static tm_status tm_slide_b8(const tm_slide_b8_params *p, const void *first, const void *last,
                             void *window, void *scratch) {
  uint8_t *const kept = (uint8_t *)window + p->first;
  (void)scratch;
  memmove(kept, kept + p->shift, (size_t)p->kept);
  if (first != NULL) {
    memcpy(window, first, (size_t)p->first);
  }
  memcpy(kept + p->kept, last, (size_t)p->last);
  return TM_OK;
}
