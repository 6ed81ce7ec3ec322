/* A weighted sum of two int8: addition and subtraction in exact short form. No scratch. */
#include "tm_binary.h"
#include "tm_rescale.h"

static inline int8_t tm_plane_one_s8(const tm_plane_s8_params *p, int8_t a, int8_t b) {
  const uint32_t sum = (uint32_t)(a * p->first_factor) + (uint32_t)p->bias;
  const int32_t y = (int32_t)(sum + (uint32_t)(b * p->second_factor)) >> p->shift;
  return (int8_t)tm_clamp(y, p->lo, p->hi);
}

TM_BINARY_KERNEL(tm_plane_s8, tm_plane_s8_params, int8_t, tm_plane_one_s8)
