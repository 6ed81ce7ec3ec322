/* UART of ESP32-C3 (ESP32-C3 Technical Reference Manual: UART Controller). The boot ROM leaves it
 * with 8 data bits, no parity, one stop bit. */
#include "uart.h"

enum { FIFO = 0x00, STATUS = 0x1C, CLKDIV = 0x14, ID = 0x80 };

#define STATUS_RX_COUNT 0x3FFu
#define STATUS_TX_COUNT_SHIFT 16
#define FIFO_BYTES 128u
#define ID_REG_UPDATE (1u << 31)

/* clock / baud in 16ths, rounded: bits 11..0 are the integer, 23..20 the fraction. */
#define DIVISOR ((uint32_t)(((uint64_t)TM_UART_CLOCK_HZ * 32u / TM_UART_BAUD + 1u) / 2u))

void tm_wire_open(void) {
  *tm_uart_register(CLKDIV) = (DIVISOR >> 4 & 0xFFFu) | (DIVISOR & 0xFu) << 20;
  *tm_uart_register(ID) |= ID_REG_UPDATE;
  while ((*tm_uart_register(ID) & ID_REG_UPDATE) != 0) {
  }
}

bool tm_wire_get(uint8_t *byte) {
  if ((*tm_uart_register(STATUS) & STATUS_RX_COUNT) == 0) {
    return false;
  }
  *byte = (uint8_t)*tm_uart_register(FIFO);
  return true;
}

void tm_wire_put(uint8_t byte) {
  while ((*tm_uart_register(STATUS) >> STATUS_TX_COUNT_SHIFT & STATUS_RX_COUNT) >=
         FIFO_BYTES - 1u) {
  }
  *tm_uart_register(FIFO) = byte;
}
