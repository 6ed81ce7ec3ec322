/* Sums of eight channels at a time, two to a word. No scratch. */
#include "tm_bias_update.h"
#include "tm_dsp.h"

/* acc + the low, the high half of a word. */
static TM_INLINE int32_t tm_bias_low(int32_t acc, uint32_t word) {
#if defined(TM_DSP_ASM)
  __asm__("sxtah %0, %0, %1" : "+r"(acc) : "r"(word));
  return acc;
#else
  return acc + tm_low16(word);
#endif
}

static TM_INLINE int32_t tm_bias_high(int32_t acc, uint32_t word) {
#if defined(TM_DSP_ASM)
  __asm__("sxtah %0, %0, %1, ror #16" : "+r"(acc) : "r"(word));
  return acc;
#else
  return acc + tm_high16(word);
#endif
}

static tm_status tm_bias_update_words_s32(const tm_bias_update_s32_params *p, const int16_t *h,
                                          const int32_t *exponent, const float *rate,
                                          const int32_t *counter, const float *coefficient,
                                          int32_t *bias, void *scratch) {
  const uint32_t seed = tm_update_seed((uint32_t)*counter, (uint32_t)p->layer);
  const int32_t channels = p->channels;
  int32_t sums[8];
  (void)scratch;
  for (int32_t o = 0; o < channels; o += 8) {
    const int32_t count = channels - o < 8 ? channels - o : 8;
    if (count == 8) {
      const int8_t *from = (const int8_t *)(h + o);
      int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
      for (int32_t left = p->pixels; left > 0; --left) {
        const uint32_t a = tm_load4(from), b = tm_load4(from + 4);
        const uint32_t c = tm_load4(from + 8), d = tm_load4(from + 12);
        s0 = tm_bias_low(s0, a);
        s1 = tm_bias_high(s1, a);
        s2 = tm_bias_low(s2, b);
        s3 = tm_bias_high(s3, b);
        s4 = tm_bias_low(s4, c);
        s5 = tm_bias_high(s5, c);
        s6 = tm_bias_low(s6, d);
        s7 = tm_bias_high(s7, d);
        from += 2 * channels;
      }
      sums[0] = s0;
      sums[1] = s1;
      sums[2] = s2;
      sums[3] = s3;
      sums[4] = s4;
      sums[5] = s5;
      sums[6] = s6;
      sums[7] = s7;
    } else {
      for (int32_t k = 0; k < count; ++k) {
        sums[k] = 0;
        for (int32_t n = 0; n < p->pixels; ++n) {
          sums[k] += h[n * channels + o + k];
        }
      }
    }
    for (int32_t k = 0; k < count; ++k) {
      const float factor = tm_update_factor(*rate, coefficient[o + k], *exponent);
      bias[o + k] =
          tm_update_bias(bias[o + k], sums[k], factor, p->stochastic, seed, (uint32_t)(o + k));
    }
  }
  return TM_OK;
}
