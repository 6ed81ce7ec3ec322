/* Memory that calls of one thread share. */
#if defined(__linux__)
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#endif

#include <stdatomic.h>
#include <stdlib.h>

#include "tm_edit_inner.h"

#define LINE ((int64_t)64)
#define HUGE_PAGE ((int64_t)2 << 20)

typedef struct {
  void *start;
  int64_t bytes;
} room;

static _Thread_local room rooms[TM_ROOMS];
static atomic_int failures;

static void leave(room *r) {
  free(r->start);
  *r = (room){NULL, 0};
}

void *tm_edit_room(int32_t which, int64_t bytes) {
  room *r = &rooms[which];
  if (bytes > r->bytes || !r->start) {
    leave(r);
    /* Half as much again: calls of growing size do not each start with fresh pages. */
    const int64_t wanted = tm_round_up(bytes + bytes / 2 + 1, bytes < HUGE_PAGE ? LINE : HUGE_PAGE);
    r->start = wanted > bytes
                   ? aligned_alloc((size_t)(bytes < HUGE_PAGE ? LINE : HUGE_PAGE), (size_t)wanted)
                   : NULL;
    if (!r->start) {
      atomic_fetch_add(&failures, 1);
      return NULL;
    }
    r->bytes = wanted;
#if defined(MADV_HUGEPAGE)
    if (bytes >= HUGE_PAGE) {
      (void)madvise(r->start, (size_t)wanted, MADV_HUGEPAGE);
    }
#endif
  }
  return r->start;
}

void tm_edit_release(void) {
  for (int32_t i = 0; i < TM_ROOMS; ++i) {
    leave(&rooms[i]);
  }
}

int32_t tm_edit_failures(void) {
  return atomic_exchange(&failures, 0);
}
