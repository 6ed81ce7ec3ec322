/* The UART of a board, polled, 8 data bits, no parity, one stop bit. One implementation of wire.h a
 * family: uart_<family>.c. Pins and clocks are set up before (tm_setup in firmware.c). */
#ifndef TM_TARGET_UART_H
#define TM_TARGET_UART_H

#include "firmware.h"
#include "wire.h"

/* The 32-bit register at `offset` from the UART's base. */
static inline volatile uint32_t *tm_uart_register(uint32_t offset) {
  return (volatile uint32_t *)(uintptr_t)(TM_UART_BASE + offset);
}

#endif
