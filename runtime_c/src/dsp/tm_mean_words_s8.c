/* Sum or mean of int8 values along one axis, four sums at a time. No scratch. */
#include "tm_reduce.h"
#include "tm_words.h"

static tm_status tm_mean_words_s8(const tm_mean_s8_params *p, const int8_t *in, int8_t *out,
                                  void *scratch) {
  (void)scratch;
  for (int32_t o = 0; o < p->outer; ++o) {
    int32_t i = 0;
    for (; i + 4 <= p->inner; i += 4) {
      const int8_t *x = in + i;
      int32_t sum[4] = {0, 0, 0, 0};
      int32_t run;
      for (int32_t left = p->count; left > 0; left -= run) {
        tm_words sums = {0, 0};
        run = left < TM_WORDS_MOST ? left : TM_WORDS_MOST;
        sums = tm_words_sum(sums, x, p->inner, run);
        sum[0] += tm_low16(sums.even);
        sum[1] += tm_low16(sums.odd);
        sum[2] += tm_high16(sums.even);
        sum[3] += tm_high16(sums.odd);
        x += run * p->inner;
      }
      for (int32_t k = 0; k < 4; ++k) {
        *out++ = tm_mean_one(p, sum[k]);
      }
    }
    for (; i < p->inner; ++i) {
      *out++ = tm_mean_plain(p, in + i);
    }
    in += p->count * p->inner;
  }
  return TM_OK;
}
