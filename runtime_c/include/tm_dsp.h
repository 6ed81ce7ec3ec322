/* The DSP extension's instructions as functions, with the same arithmetic in plain C elsewhere.
 * TM_DSP_ASM is defined where the assembly of src/dsp is compiled; all else runs its C twins. The
 * assembly uses all registers, so that it needs a compiler that optimises and keeps no frame
 * pointer: with -fno-omit-frame-pointer define TM_NO_ASM.
 */
#ifndef TM_DSP_H
#define TM_DSP_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__) && !defined(__clang__) && \
    defined(__OPTIMIZE__) && !defined(TM_NO_ASM)
#define TM_DSP_ASM
#endif

/* Names of sources that are compiled several times with different macros. */
#ifndef TM_INSTANCE
#define TM_INSTANCE(name) name
#endif

/* Functions whose copies would cost more flash than the call costs time, and those that must be
 * part of their caller. */
#if defined(__GNUC__)
#define TM_NOINLINE __attribute__((noinline))
#define TM_INLINE inline __attribute__((always_inline))
#else
#define TM_NOINLINE
#define TM_INLINE inline
#endif

/* Says that what `object` points to may be changed by any call: it is read where it is used and not
 * kept in copies, which a loop full of calls would have to put on the stack. */
#if defined(__GNUC__)
#define TM_SHARED(object) __asm__ volatile("" : : "r"(object) : "memory")
#else
#define TM_SHARED(object) ((void)0)
#endif

/* Four bytes from any address. */
static inline uint32_t tm_load4(const int8_t *from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

/* Four bytes to any address. */
static inline void tm_store4(int8_t *to, uint32_t word) {
  memcpy(to, &word, sizeof word);
}

/* Two 16-bit halves, `low` in the low one. */
static inline uint32_t tm_pack16(int32_t low, int32_t high) {
  return ((uint32_t)low & 0xFFFFu) | ((uint32_t)high << 16);
}

static inline int32_t tm_low16(uint32_t word) {
  return (int16_t)(word & 0xFFFFu);
}

static inline int32_t tm_high16(uint32_t word) {
  return (int16_t)(word >> 16);
}

/* Bytes 0 and 2 of a word, sign-extended to halves. */
static inline uint32_t tm_sxtb16(uint32_t word) {
#if defined(TM_DSP_ASM)
  uint32_t halves;
  __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(word));
  return halves;
#else
  return tm_pack16((int8_t)(word & 0xFFu), (int8_t)(word >> 16 & 0xFFu));
#endif
}

/* Bytes 1 and 3 of a word, sign-extended to halves. */
static inline uint32_t tm_sxtb16_ror8(uint32_t word) {
#if defined(TM_DSP_ASM)
  uint32_t halves;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
  return halves;
#else
  return tm_sxtb16(word >> 8);
#endif
}

/* acc + both products of halves, modulo 2^32. */
static inline uint32_t tm_smlad(uint32_t a, uint32_t b, uint32_t acc) {
#if defined(TM_DSP_ASM)
  __asm__("smlad %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
  return acc;
#else
  return acc + (uint32_t)(tm_low16(a) * tm_low16(b)) + (uint32_t)(tm_high16(a) * tm_high16(b));
#endif
}

/* acc + the high half of the 64-bit product, modulo 2^32. */
static inline int32_t tm_smmla(int32_t a, int32_t b, int32_t acc) {
#if defined(TM_DSP_ASM)
  __asm__("smmla %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
  return acc;
#else
  return (int32_t)((uint32_t)acc + (uint32_t)(((int64_t)a * b) >> 32));
#endif
}

/* acc + bytes 0 and 2 of a word, by halves modulo 2^16. */
static inline uint32_t tm_sxtab16(uint32_t acc, uint32_t word) {
#if defined(TM_DSP_ASM)
  __asm__("sxtab16 %0, %0, %1" : "+r"(acc) : "r"(word));
  return acc;
#else
  return tm_pack16(tm_low16(acc) + (int8_t)(word & 0xFFu),
                   tm_high16(acc) + (int8_t)(word >> 16 & 0xFFu));
#endif
}

/* acc + bytes 1 and 3 of a word, by halves modulo 2^16. */
static inline uint32_t tm_sxtab16_ror8(uint32_t acc, uint32_t word) {
#if defined(TM_DSP_ASM)
  __asm__("sxtab16 %0, %0, %1, ror #8" : "+r"(acc) : "r"(word));
  return acc;
#else
  return tm_sxtab16(acc, word >> 8);
#endif
}

/* By halves, a - b modulo 2^16. */
static inline uint32_t tm_ssub16(uint32_t a, uint32_t b) {
#if defined(TM_DSP_ASM)
  uint32_t less;
  __asm__("ssub16 %0, %1, %2" : "=r"(less) : "r"(a), "r"(b));
  return less;
#else
  return tm_pack16(tm_low16(a) - tm_low16(b), tm_high16(a) - tm_high16(b));
#endif
}

/* acc + (a * low half of b) / 2^16, rounded down, modulo 2^32. */
static inline int32_t tm_smlawb(int32_t a, uint32_t b, int32_t acc) {
#if defined(TM_DSP_ASM)
  int32_t sum;
  __asm__("smlawb %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
  return sum;
#else
  return (int32_t)((uint32_t)acc + (uint32_t)(((int64_t)a * tm_low16(b)) >> 16));
#endif
}

/* acc + (a * high half of b) / 2^16, rounded down, modulo 2^32. */
static inline int32_t tm_smlawt(int32_t a, uint32_t b, int32_t acc) {
#if defined(TM_DSP_ASM)
  int32_t sum;
  __asm__("smlawt %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
  return sum;
#else
  return tm_smlawb(a, b >> 16, acc);
#endif
}

/* The low bytes of four integers as a word. */
static inline uint32_t tm_pack8(int32_t a, int32_t b, int32_t c, int32_t d) {
#if defined(TM_DSP_ASM)
  __asm__("bfi %0, %1, #8, #8\n\tbfi %0, %2, #16, #8\n\tbfi %0, %3, #24, #8"
          : "+&r"(a)
          : "r"(b), "r"(c), "r"(d));
  return (uint32_t)a;
#else
  return ((uint32_t)a & 0xFFu) | ((uint32_t)b & 0xFFu) << 8 | ((uint32_t)c & 0xFFu) << 16 |
         (uint32_t)d << 24;
#endif
}

/* By bytes, the greater of two signed ones. */
static inline uint32_t tm_max4(uint32_t a, uint32_t b) {
#if defined(TM_DSP_ASM)
  uint32_t most;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(most) : "r"(a), "r"(b));
  return most;
#else
  uint32_t most = 0;
  for (int32_t place = 0; place < 32; place += 8) {
    const int8_t x = (int8_t)(a >> place & 0xFFu);
    const int8_t y = (int8_t)(b >> place & 0xFFu);
    most |= ((uint32_t)(x > y ? x : y) & 0xFFu) << place;
  }
  return most;
#endif
}

#endif
