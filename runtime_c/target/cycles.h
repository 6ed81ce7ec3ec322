/* The core's cycle counter, 32 bits; reads 0 where the board names none. */
#ifndef TM_TARGET_CYCLES_H
#define TM_TARGET_CYCLES_H

#include <stdint.h>

#include "firmware.h"

#if defined(TM_CYCLES_DWT)
/* Armv7-M and Armv8-M Architecture Reference Manuals: DWT. */
#define TM_DEMCR (*(volatile uint32_t *)0xE000EDFCu)
#define TM_DWT_CTRL (*(volatile uint32_t *)0xE0001000u)
#define TM_DWT_CYCCNT (*(volatile uint32_t *)0xE0001004u)
#define TM_DWT_LAR (*(volatile uint32_t *)0xE0001FB0u)

static inline void tm_cycles_start(void) {
  TM_DEMCR |= 1u << 24;     /* TRCENA */
  TM_DWT_LAR = 0xC5ACCE55u; /* Cortex-M7 locks the unit */
  TM_DWT_CTRL |= 1u;        /* CYCCNTENA */
}

static inline uint32_t tm_cycles_now(void) {
  return TM_DWT_CYCCNT;
}
#elif defined(TM_CYCLES_MCYCLE)
static inline void tm_cycles_start(void) {
}

static inline uint32_t tm_cycles_now(void) {
  uint32_t now;
  __asm__ volatile("csrr %0, mcycle" : "=r"(now)::"memory");
  return now;
}
#elif defined(TM_CYCLES_ESP)
/* ESP32-C3 Technical Reference Manual: mpcer, mpcmr, mpccr. */
static inline void tm_cycles_start(void) {
  __asm__ volatile("csrwi 0x7E0, 1\n\tcsrwi 0x7E1, 1" ::: "memory");
}

static inline uint32_t tm_cycles_now(void) {
  uint32_t now;
  __asm__ volatile("csrr %0, 0x7E2" : "=r"(now)::"memory");
  return now;
}
#else
static inline void tm_cycles_start(void) {
}

static inline uint32_t tm_cycles_now(void) {
  return 0;
}
#endif

#endif
