/* A weighted sum of two int8 maps of one shape by vectors; the shift is TM_SHIFT, no clamp but
 * that of int8. No scratch.
 *
 * binutils 2.40 assembles vqshrn as vqrshrn: the rounding form is used and its half taken off
 * the bias, which leaves room for it. */
#include "tm_binary.h"
#include "tm_rescale.h"

#ifndef TM_INSTANCE
#define TM_INSTANCE(name) name
#endif

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>

static inline int32x4_t TM_INSTANCE(tm_plane_sum)(int32x4_t a, int32x4_t b, int32x4_t first,
                                                  int32_t second, int32_t bias) {
  return vmlaq_n_s32(vmlasq_n_s32(a, first, bias), b, second);
}

/* Bytes 0, 2, .. and 1, 3, .. as halves, of both every second one as a word, and back. What the
 * narrowing instructions are given for the lanes they leave alone is overwritten. */
static inline int8x16_t TM_INSTANCE(tm_plane_bytes)(int8x16_t a, int8x16_t b, int32x4_t first,
                                                    int32_t second, int32_t bias) {
  const int16x8_t a0 = vmovlbq_s8(a);
  const int16x8_t b0 = vmovlbq_s8(b);
  const int32x4_t y0 =
      TM_INSTANCE(tm_plane_sum)(vmovlbq_s16(a0), vmovlbq_s16(b0), first, second, bias);
  const int32x4_t y2 =
      TM_INSTANCE(tm_plane_sum)(vmovltq_s16(a0), vmovltq_s16(b0), first, second, bias);
  const int16x8_t h0 = vshrntq_n_s32(vshrnbq_n_s32(b0, y0, 16), y2, 16);
  const int16x8_t a1 = vmovltq_s8(a);
  const int16x8_t b1 = vmovltq_s8(b);
  const int32x4_t y1 =
      TM_INSTANCE(tm_plane_sum)(vmovlbq_s16(a1), vmovlbq_s16(b1), first, second, bias);
  const int32x4_t y3 =
      TM_INSTANCE(tm_plane_sum)(vmovltq_s16(a1), vmovltq_s16(b1), first, second, bias);
  const int16x8_t h1 = vshrntq_n_s32(vshrnbq_n_s32(b1, y1, 16), y3, 16);
  return vqrshrntq_n_s16(vqrshrnbq_n_s16(b, h0, TM_SHIFT - 16), h1, TM_SHIFT - 16);
}
#endif

static tm_status TM_INSTANCE(tm_plane_vectors_s8)(const tm_plane_s8_params *p, const int8_t *a,
                                                  const int8_t *b, int8_t *out, void *scratch) {
#if defined(__ARM_FEATURE_MVE)
  const int32x4_t first = vdupq_n_s32(p->first_factor);
  const int32_t second = p->second_factor;
  const int32_t bias = p->bias - (1 << (TM_SHIFT - 1));
  (void)scratch;
  for (int32_t blocks = p->count >> 4; blocks > 0; --blocks) {
    const int8x16_t x = vldrbq_s8(a);
    vstrbq_s8(out, TM_INSTANCE(tm_plane_bytes)(x, vldrbq_s8(b), first, second, bias));
    a += 16;
    b += 16;
    out += 16;
  }
  if ((p->count & 15) != 0) {
    const mve_pred16_t some = vctp8q((uint32_t)p->count & 15u);
    const int8x16_t x = vldrbq_z_s8(a, some);
    const int8x16_t y = vldrbq_z_s8(b, some);
    vstrbq_p_s8(out, TM_INSTANCE(tm_plane_bytes)(x, y, first, second, bias), some);
  }
#else
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    const uint32_t sum = (uint32_t)(a[i] * p->first_factor) + (uint32_t)p->bias;
    const int32_t y = (int32_t)(sum + (uint32_t)(b[i] * p->second_factor)) >> TM_SHIFT;
    out[i] = (int8_t)tm_clamp(y, INT8_MIN, INT8_MAX);
  }
#endif
  return TM_OK;
}
