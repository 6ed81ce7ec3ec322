/* UART of nRF51, which nRF52 has too, beside UARTE (nRF51 Series Reference Manual, nRF52840 Product
 * Specification: UART). Its clock is always 16 MHz. */
#include "uart.h"

enum {
  TASKS_STARTRX = 0x000,
  TASKS_STARTTX = 0x008,
  EVENTS_RXDRDY = 0x108,
  EVENTS_TXDRDY = 0x11C,
  ENABLE = 0x500,
  RXD = 0x518,
  TXD = 0x51C,
  BAUDRATE = 0x524,
};

#define ENABLE_UART 4u

/* baud * 2^32 / 16 MHz; the lowest 12 bits are to be zero. */
#define BAUD_VALUE \
  ((uint32_t)((((uint64_t)TM_UART_BAUD << 32) / TM_UART_CLOCK_HZ + 0x800u) & 0xFFFFF000u))

void tm_wire_open(void) {
  *tm_uart_register(BAUDRATE) = BAUD_VALUE;
  *tm_uart_register(ENABLE) = ENABLE_UART;
  *tm_uart_register(EVENTS_RXDRDY) = 0;
  *tm_uart_register(EVENTS_TXDRDY) = 0;
  *tm_uart_register(TASKS_STARTTX) = 1;
  *tm_uart_register(TASKS_STARTRX) = 1;
}

bool tm_wire_get(uint8_t *byte) {
  if (*tm_uart_register(EVENTS_RXDRDY) == 0) {
    return false;
  }
  /* Before the byte is taken: the next one may be there at once. */
  *tm_uart_register(EVENTS_RXDRDY) = 0;
  *byte = (uint8_t)*tm_uart_register(RXD);
  return true;
}

void tm_wire_put(uint8_t byte) {
  *tm_uart_register(TXD) = byte;
  while (*tm_uart_register(EVENTS_TXDRDY) == 0) {
  }
  *tm_uart_register(EVENTS_TXDRDY) = 0;
}
