/* The UART of a board, polled, 8 data bits, no parity, one stop bit. One implementation a family:
 * uart_<family>.c. Pins and clocks are set up before (tm_setup in firmware.c). */
#ifndef TM_TARGET_UART_H
#define TM_TARGET_UART_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware.h"

/* The 32-bit register at `offset` from the UART's base. */
static inline volatile uint32_t *tm_uart_register(uint32_t offset) {
  return (volatile uint32_t *)(uintptr_t)(TM_UART_BASE + offset);
}

/* Sets the baud rate and starts both directions. */
void tm_uart_open(void);

/* Takes the next byte that has come; false if there is none. */
bool tm_uart_get(uint8_t *byte);

/* Sends a byte; waits while there is no room for it. */
void tm_uart_put(uint8_t byte);

#endif
