/* The core's cycles since tm_cycles_start, by the counter that the board's file names; by SysTick
 * where that one stands still, as it does in simulators and in cores made without it. */
#ifndef TM_TARGET_CYCLES_H
#define TM_TARGET_CYCLES_H

#include <stdint.h>

#include "firmware.h"

enum {
  TM_COUNTER_NONE = 0,
  TM_COUNTER_DWT = 1,     /* DWT_CYCCNT of Cortex-M3 and up */
  TM_COUNTER_SYSTICK = 2, /* SysTick on the core's clock, its wraps counted by its exception */
  TM_COUNTER_MCYCLE = 3,  /* RISC-V's own */
  TM_COUNTER_ESP = 4,     /* that of Espressif's RISC-V cores */
};

#if defined(TM_CYCLES_DWT)
#define TM_COUNTER_NAMED TM_COUNTER_DWT
#elif defined(TM_CYCLES_SYSTICK)
#define TM_COUNTER_NAMED TM_COUNTER_SYSTICK
#elif defined(TM_CYCLES_MCYCLE)
#define TM_COUNTER_NAMED TM_COUNTER_MCYCLE
#elif defined(TM_CYCLES_ESP)
#define TM_COUNTER_NAMED TM_COUNTER_ESP
#else
#define TM_COUNTER_NAMED TM_COUNTER_NONE
#endif

/* Starts a counter that counts; gives which, TM_COUNTER_NONE where none does. */
uint32_t tm_cycles_start(void);

/* Cycles. To be called at least once while a 32-bit counter runs round. 0 without a counter. */
uint64_t tm_cycles_now(void);

#endif
