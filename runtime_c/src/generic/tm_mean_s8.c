/* Sum or mean of int8 values along one axis. No scratch. */
#include "tm_reduce.h"

static tm_status tm_mean_s8(const tm_mean_s8_params *p, const int8_t *in, int8_t *out,
                            void *scratch) {
  (void)scratch;
  for (int32_t o = 0; o < p->outer; ++o) {
    for (int32_t i = 0; i < p->inner; ++i) {
      *out++ = tm_mean_plain(p, in + i);
    }
    in += p->count * p->inner;
  }
  return TM_OK;
}
