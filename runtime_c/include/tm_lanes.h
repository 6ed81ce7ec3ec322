/* Sums of eight neighbouring channels and their rescaling, in vectors of the MVE extension. */
#ifndef TM_LANES_H
#define TM_LANES_H

#if defined(__ARM_FEATURE_MVE)

#include <arm_mve.h>

/* sums + `count` times eight bytes at distance `step`; lanes out of `some` are left alone */
static inline int16x8_t tm_lanes_sum(int16x8_t sums, const int8_t *x, int32_t step, int32_t count,
                                     mve_pred16_t some) {
  for (; count > 0; --count) {
    sums = vaddq_s16(sums, vldrbq_z_s16(x, some));
    x += step;
  }
  return sums;
}

/* tm_bent_line of each lane, clamped */
static inline int32x4_t tm_lanes_line(int32x4_t x, int32_t up, int32_t multiplier, int32_t offset,
                                      int32_t bend, int32_t down, int32_t lo, int32_t hi) {
  const int32x4_t less = vandq_s32(vshrq_n_s32(x, 31), vdupq_n_s32(-bend));
  x = vmulhq_s32(vshlq_r_s32(x, up), vdupq_n_s32(multiplier));
  x = vshlq_r_s32(vaddq_n_s32(vaddq_s32(x, less), offset), -down);
  return vminq_s32(vmaxq_s32(x, vdupq_n_s32(lo)), vdupq_n_s32(hi));
}

/* Even and odd lanes as one vector. */
static inline int16x8_t tm_lanes_join(int32x4_t even, int32x4_t odd) {
  return vmovntq_s32(vmovnbq_s32(vreinterpretq_s16_s32(even), even), odd);
}

#endif

#endif
