/* Sum or mean of int8 values along one axis, eight sums at a time. No scratch. */
#include "tm_lanes.h"
#include "tm_reduce.h"

static tm_status tm_mean_lanes_s8(const tm_mean_s8_params *p, const int8_t *in, int8_t *out,
                                  void *scratch) {
  (void)scratch;
  for (int32_t o = 0; o < p->outer; ++o) {
#if defined(__ARM_FEATURE_MVE)
    for (int32_t i = 0; i < p->inner; i += 8) {
      const mve_pred16_t some = vctp16q((uint32_t)(p->inner - i));
      const int8_t *x = in + i;
      int32x4_t even = vdupq_n_s32(-p->in_zero);
      int32x4_t odd = even;
      int32_t run;
      for (int32_t left = p->count; left > 0; left -= run) {
        int16x8_t sums;
        run = left < 256 ? left : 256;
        sums = tm_lanes_sum(vdupq_n_s16(0), x, p->inner, run, some);
        even = vaddq_s32(even, vmovlbq_s16(sums));
        odd = vaddq_s32(odd, vmovltq_s16(sums));
        x += run * p->inner;
      }
      even = tm_lanes_line(even, p->up, p->multiplier, p->offset, p->bend, p->down, INT8_MIN,
                           INT8_MAX);
      odd =
          tm_lanes_line(odd, p->up, p->multiplier, p->offset, p->bend, p->down, INT8_MIN, INT8_MAX);
      vstrbq_p_s16(out + i, tm_lanes_join(even, odd), some);
    }
#else
    for (int32_t i = 0; i < p->inner; ++i) {
      out[i] = tm_mean_plain(p, in + i);
    }
#endif
    in += p->count * p->inner;
    out += p->inner;
  }
  return TM_OK;
}
