/* The 16550 of PCs, with registers one byte apart, as in QEMU's RISC-V machine (TL16C550C data
 * sheet: register summary). */
#include "uart.h"

enum { DATA = 0, FIFO_CONTROL = 2, LINE_CONTROL = 3, LINE_STATUS = 5 };
enum { DIVISOR_LOW = 0, DIVISOR_HIGH = 1 };

#define FIFO_ON 0x07u /* and both emptied */
#define LINE_8N1 0x03u
#define LINE_DIVISOR_ACCESS 0x80u
#define STATUS_DATA 0x01u
#define STATUS_ROOM 0x20u

#define DIVISOR ((TM_UART_CLOCK_HZ / 8u / TM_UART_BAUD + 1u) / 2u)

static volatile uint8_t *byte_register(uint32_t offset) {
  return (volatile uint8_t *)(uintptr_t)(TM_UART_BASE + offset);
}

void tm_wire_open(void) {
  *byte_register(LINE_CONTROL) = LINE_DIVISOR_ACCESS;
  *byte_register(DIVISOR_LOW) = (uint8_t)(DIVISOR & 0xFFu);
  *byte_register(DIVISOR_HIGH) = (uint8_t)(DIVISOR >> 8 & 0xFFu);
  *byte_register(LINE_CONTROL) = LINE_8N1;
  *byte_register(FIFO_CONTROL) = FIFO_ON;
}

bool tm_wire_get(uint8_t *byte) {
  if ((*byte_register(LINE_STATUS) & STATUS_DATA) == 0) {
    return false;
  }
  *byte = *byte_register(DATA);
  return true;
}

void tm_wire_put(uint8_t byte) {
  while ((*byte_register(LINE_STATUS) & STATUS_ROOM) == 0) {
  }
  *byte_register(DATA) = byte;
}
