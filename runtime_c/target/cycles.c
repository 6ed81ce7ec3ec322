#include "cycles.h"

#if defined(TM_CYCLES_DWT) || defined(TM_CYCLES_SYSTICK)
#define TM_CORE_ARM 1
#elif !defined(TM_CYCLES_MCYCLE) && !defined(TM_CYCLES_ESP)
#define TM_CORE_UNCOUNTED 1
#endif

#if defined(TM_CORE_UNCOUNTED)

uint32_t tm_cycles_start(void) {
  return TM_COUNTER_NONE;
}

uint64_t tm_cycles_now(void) {
  return 0;
}

#else

#include <stdbool.h>

static uint32_t chosen;

#define PATIENCE 65536u /* reads */

/* Whether a counter moves. */
static bool counts(uint32_t (*read)(void)) {
  const uint32_t before = read();
  for (uint32_t left = PATIENCE; left != 0; --left) {
    if (read() != before) {
      return true;
    }
  }
  return false;
}

#if defined(TM_CYCLES_DWT) || defined(TM_CYCLES_ESP)
static uint32_t last; /* what a 32-bit counter showed */
static uint32_t high; /* how often it has wrapped since */

static uint64_t extended(uint32_t now) {
  high += now < last ? 1u : 0u;
  last = now;
  return (uint64_t)high << 32 | now;
}
#endif

#if defined(TM_CORE_ARM)

static volatile uint32_t *at(uint32_t address) {
  return (volatile uint32_t *)(uintptr_t)address;
}

#if defined(TM_CYCLES_DWT)
/* Armv7-M and Armv8-M Architecture Reference Manuals: DWT. */
#define DEMCR 0xE000EDFCu
#define DEMCR_TRCENA (1u << 24)
#define DWT_CTRL 0xE0001000u
#define DWT_CTRL_CYCCNTENA (1u << 0)
#define DWT_CYCCNT 0xE0001004u
#define DWT_LAR 0xE0001FB0u
#define DWT_UNLOCKED 0xC5ACCE55u

static uint32_t dwt_read(void) {
  return *at(DWT_CYCCNT);
}

static void dwt_start(void) {
  *at(DEMCR) |= DEMCR_TRCENA;
  *at(DWT_LAR) = DWT_UNLOCKED; /* Cortex-M7 locks the unit */
  *at(DWT_CYCCNT) = 0;
  *at(DWT_CTRL) |= DWT_CTRL_CYCCNTENA;
}
#endif

/* Armv6-M, Armv7-M, Armv8-M: SysTick, NVIC. It counts down from its reload value to 0. */
#define SYST_CSR 0xE000E010u
#define SYST_CSR_CORE_CLOCK_INTERRUPT_ON 0x7u
#define SYST_RVR 0xE000E014u
#define SYST_CVR 0xE000E018u
#define SYST_MOST 0xFFFFFFu
#define NVIC_ICER 0xE000E180u

static volatile uint32_t wraps;
static uint64_t systick_last;

void tm_tick(void);

/* In place of the handler that start_arm.c has for programs without a clock. The exception comes
 * as the counter reaches 0. */
void tm_tick(void) {
  ++wraps;
}

static uint32_t systick_read(void) {
  return *at(SYST_CVR);
}

static void systick_start(void) {
  for (uint32_t word = 0; word < 8u; ++word) {
    *at(NVIC_ICER + 4u * word) = UINT32_MAX; /* a bootloader's interrupts have no handler here */
  }
  *at(SYST_RVR) = SYST_MOST;
  *at(SYST_CVR) = 0;
  *at(SYST_CSR) = SYST_CSR_CORE_CLOCK_INTERRUPT_ON;
  __asm__ volatile("cpsie i" ::: "memory");
}

static uint64_t systick_now(void) {
  uint32_t before;
  uint32_t count;
  do {
    before = wraps;
    count = *at(SYST_CVR);
  } while (before != wraps);
  const uint32_t elapsed = (SYST_MOST + 1u - count) & SYST_MOST; /* since it was 0 */
  uint64_t now = (uint64_t)(before >> 8) << 32 | (before << 24 | elapsed);
  if (now < systick_last) {
    now += SYST_MOST + 1u; /* the exception is on its way */
  }
  systick_last = now;
  return now;
}

uint32_t tm_cycles_start(void) {
#if defined(TM_CYCLES_DWT)
  dwt_start();
  if (counts(dwt_read)) {
    chosen = TM_COUNTER_DWT;
    return chosen;
  }
#endif
  systick_start();
  if (counts(systick_read)) {
    chosen = TM_COUNTER_SYSTICK;
  }
  return chosen;
}

uint64_t tm_cycles_now(void) {
#if defined(TM_CYCLES_DWT)
  if (chosen == TM_COUNTER_DWT) {
    return extended(dwt_read());
  }
#endif
  return chosen == TM_COUNTER_SYSTICK ? systick_now() : 0;
}

#else /* RISC-V */

static uint32_t read_low(void) {
  uint32_t now;
#if defined(TM_CYCLES_MCYCLE)
  __asm__ volatile("csrr %0, mcycle" : "=r"(now)::"memory");
#else
  /* ESP32-C3 Technical Reference Manual: mpccr. */
  __asm__ volatile("csrr %0, 0x7E2" : "=r"(now)::"memory");
#endif
  return now;
}

uint32_t tm_cycles_start(void) {
#if defined(TM_CYCLES_ESP)
  __asm__ volatile("csrwi 0x7E0, 1\n\tcsrwi 0x7E1, 1" ::: "memory"); /* mpcer, mpcmr */
#endif
  chosen = counts(read_low) ? TM_COUNTER_NAMED : TM_COUNTER_NONE;
  return chosen;
}

uint64_t tm_cycles_now(void) {
  if (chosen == TM_COUNTER_NONE) {
    return 0;
  }
#if defined(TM_CYCLES_MCYCLE)
  uint32_t above;
  uint32_t again;
  uint32_t low;
  do {
    __asm__ volatile("csrr %0, mcycleh" : "=r"(above)::"memory");
    low = read_low();
    __asm__ volatile("csrr %0, mcycleh" : "=r"(again)::"memory");
  } while (above != again);
  return (uint64_t)above << 32 | low;
#else
  return extended(read_low());
#endif
}

#endif

#endif
