/* The bytes that go between a board's firmware and the host. One implementation a way: a family of
 * UARTs each (uart_<family>.c), a debugger's console (wire_semihosting.c), the trace pin
 * (wire_swo.c). */
#ifndef TM_TARGET_WIRE_H
#define TM_TARGET_WIRE_H

#include <stdbool.h>
#include <stdint.h>

/* Starts both directions. */
void tm_wire_open(void);

/* Takes the next byte that has come; false if there is none. */
bool tm_wire_get(uint8_t *byte);

/* Sends a byte; waits while there is no room for it. */
void tm_wire_put(uint8_t byte);

#endif
