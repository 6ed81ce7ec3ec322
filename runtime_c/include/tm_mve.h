/* What the kernels for MVE (Helium) share.
 * TM_MVE_ASM is defined where their assembly is compiled; all else runs the C twins (see tm_dsp.h).
 */
#ifndef TM_MVE_H
#define TM_MVE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tm_rescale.h"

#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__) && !defined(__clang__) && \
    defined(__OPTIMIZE__) && !defined(TM_NO_ASM)
#define TM_MVE_ASM
#define TM_MVE_NOINLINE __attribute__((noinline))
#else
#define TM_MVE_NOINLINE
#endif

/* Names of sources that are compiled several times with different macros. */
#ifndef TM_INSTANCE
#define TM_INSTANCE(name) name
#endif

/* Copies `count` >= 0 bytes, sixteen at a time; the places do not overlap. */
static inline void tm_mve_copy(int8_t *to, const int8_t *from, int32_t count) {
#if defined(TM_MVE_ASM)
  __asm__ volatile(
      "wlstp.8 lr, %[count], 2f\n"
      "1:\n\t"
      "vldrb.u8 q0, [%[from]], #16\n\t"
      "vstrb.8 q0, [%[to]], #16\n\t"
      "letp lr, 1b\n"
      "2:\n\t"
      : [to] "+&r"(to), [from] "+&r"(from)
      : [count] "r"(count)
      : "lr", "q0", "memory");
#else
  memcpy(to, from, (size_t)count);
#endif
}

/* `count` >= 0 bytes of one value. */
static inline void tm_mve_fill(int8_t *to, int8_t value, int32_t count) {
#if defined(TM_MVE_ASM)
  __asm__ volatile(
      "vdup.8 q0, %[value]\n\t"
      "wlstp.8 lr, %[count], 2f\n"
      "1:\n\t"
      "vstrb.8 q0, [%[to]], #16\n\t"
      "letp lr, 1b\n"
      "2:\n\t"
      : [to] "+&r"(to)
      : [count] "r"(count), [value] "r"(value)
      : "lr", "q0", "memory");
#else
  memset(to, value, (size_t)count);
#endif
}

/* Two copies of `count` bytes each. */
static inline void tm_mve_copy2(int8_t *to0, const int8_t *from0, int8_t *to1, const int8_t *from1,
                                int32_t count) {
#if defined(TM_MVE_ASM)
  __asm__ volatile(
      "wlstp.8 lr, %[count], 2f\n"
      "1:\n\t"
      "vldrb.u8 q0, [%[from0]], #16\n\t"
      "vldrb.u8 q1, [%[from1]], #16\n\t"
      "vstrb.8 q0, [%[to0]], #16\n\t"
      "vstrb.8 q1, [%[to1]], #16\n\t"
      "letp lr, 1b\n"
      "2:\n\t"
      : [to0] "+&r"(to0), [from0] "+&r"(from0), [to1] "+&r"(to1), [from1] "+&r"(from1)
      : [count] "r"(count)
      : "lr", "q0", "q1", "memory");
#else
  memcpy(to0, from0, (size_t)count);
  memcpy(to1, from1, (size_t)count);
#endif
}

#endif
