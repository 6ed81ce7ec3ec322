/* A weighted sum of two int8 maps of one shape, four elements at a time; the shift is TM_SHIFT,
 * no clamp but that of int8. No scratch. */
#include "tm_binary.h"
#include "tm_dsp.h"
#include "tm_rescale.h"

#ifndef TM_INSTANCE
#define TM_INSTANCE(name) name
#endif

/* y >> TM_SHIFT, saturated to int8 */
static inline int32_t TM_INSTANCE(tm_plane_byte)(int32_t y) {
#if defined(TM_DSP_ASM)
  __asm__("ssat %0, #8, %0, asr %1" : "+r"(y) : "I"(TM_SHIFT));
  return y;
#else
  return tm_clamp(y >> TM_SHIFT, INT8_MIN, INT8_MAX);
#endif
}

static tm_status TM_INSTANCE(tm_plane_words_s8)(const tm_plane_s8_params *p, const int8_t *a,
                                                const int8_t *b, int8_t *out, void *scratch) {
  /* a byte in the upper half of 16 bits times the factor << 8, of which 16 bits are dropped */
  const int32_t first = p->first_factor * (1 << 8);
  const int32_t second = p->second_factor * (1 << 8);
  const int32_t bias = p->bias;
  const uint32_t upper = 0xFF00FF00u;
  const int32_t even = p->count & ~3;
  int32_t i = 0;
  (void)scratch;
  for (; i < even; i += 4) {
    const uint32_t x = tm_load4(a + i);
    const uint32_t z = tm_load4(b + i);
    const uint32_t x02 = upper & (x << 8);
    const uint32_t z02 = upper & (z << 8);
    const uint32_t x13 = upper & x;
    const uint32_t z13 = upper & z;
    const int32_t y0 = tm_smlawb(second, z02, tm_smlawb(first, x02, bias));
    const int32_t y2 = tm_smlawt(second, z02, tm_smlawt(first, x02, bias));
    const int32_t y1 = tm_smlawb(second, z13, tm_smlawb(first, x13, bias));
    const int32_t y3 = tm_smlawt(second, z13, tm_smlawt(first, x13, bias));
    tm_store4(out + i, tm_pack8(TM_INSTANCE(tm_plane_byte)(y0), TM_INSTANCE(tm_plane_byte)(y1),
                                TM_INSTANCE(tm_plane_byte)(y2), TM_INSTANCE(tm_plane_byte)(y3)));
  }
  for (; i < p->count; ++i) {
    const uint32_t x = (uint32_t)a[i] << 8;
    const uint32_t z = (uint32_t)b[i] << 8;
    out[i] = (int8_t)TM_INSTANCE(tm_plane_byte)(tm_smlawb(second, z, tm_smlawb(first, x, bias)));
  }
  return TM_OK;
}
