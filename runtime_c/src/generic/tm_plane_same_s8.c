/* A weighted sum of two int8 maps of one shape, the shift is TM_SHIFT, no clamp but that of int8.
 * No scratch. */
#include "tm_binary.h"
#include "tm_rescale.h"

#ifndef TM_INSTANCE
#define TM_INSTANCE(name) name
#endif

/* y >> TM_SHIFT, saturated to int8 */
static inline int8_t TM_INSTANCE(tm_plane_near)(uint32_t y) {
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
  int32_t near;
  __asm__("ssat %0, #8, %1, asr %2" : "=r"(near) : "r"(y), "I"(TM_SHIFT));
  return (int8_t)near;
#else
  return (int8_t)tm_clamp((int32_t)y >> TM_SHIFT, INT8_MIN, INT8_MAX);
#endif
}

static tm_status TM_INSTANCE(tm_plane_same_s8)(const tm_plane_s8_params *p, const int8_t *a,
                                               const int8_t *b, int8_t *out, void *scratch) {
  const uint32_t bias = (uint32_t)p->bias;
  const int32_t first = p->first_factor;
  const int32_t second = p->second_factor;
  const int32_t count = p->count;
  int32_t i = 0;
  (void)scratch;
  for (; i + 2 <= count; i += 2) {
    const uint32_t y0 = (uint32_t)(a[i] * first) + (uint32_t)(b[i] * second) + bias;
    const uint32_t y1 = (uint32_t)(a[i + 1] * first) + (uint32_t)(b[i + 1] * second) + bias;
    out[i] = TM_INSTANCE(tm_plane_near)(y0);
    out[i + 1] = TM_INSTANCE(tm_plane_near)(y1);
  }
  for (; i < count; ++i) {
    const uint32_t y = (uint32_t)(a[i] * first) + (uint32_t)(b[i] * second) + bias;
    out[i] = TM_INSTANCE(tm_plane_near)(y);
  }
  return TM_OK;
}
