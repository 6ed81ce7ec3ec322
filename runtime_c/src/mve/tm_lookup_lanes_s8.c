/* Table lookup of int8 values, sixteen at a time. No scratch. */
#include "tm_lookup.h"

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
#endif

static tm_status tm_lookup_lanes_s8(const tm_lookup_s8_params *p, const int8_t *in, int8_t *out,
                                    void *scratch) {
  (void)scratch;
#if defined(__ARM_FEATURE_MVE)
  for (int32_t left = p->count; left > 0; left -= 16) {
    const mve_pred16_t some = vctp8q((uint32_t)left);
    const uint8x16_t place = veorq_u8(vreinterpretq_u8_s8(vldrbq_z_s8(in, some)), vdupq_n_u8(0x80));
    vstrbq_p_s8(out, vldrbq_gather_offset_z_s8(p->table, place, some), some);
    in += 16;
    out += 16;
  }
#else
  for (int32_t i = 0; i < p->count; ++i) {
    out[i] = p->table[in[i] + 128];
  }
#endif
  return TM_OK;
}
