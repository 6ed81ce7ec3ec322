/* LPUART of i.MX RT (i.MX RT1060 Processor Reference Manual: LPUART). */
#include "uart.h"

enum { BAUD = 0x10, STAT = 0x14, CTRL = 0x18, DATA = 0x1C };

#define BAUD_OSR_16 (15u << 24)
#define STAT_OR (1u << 19)
#define STAT_RDRF (1u << 21)
#define STAT_TDRE (1u << 23)
#define CTRL_RE (1u << 18)
#define CTRL_TE (1u << 19)

void tm_wire_open(void) {
  *tm_uart_register(CTRL) = 0;
  *tm_uart_register(BAUD) = BAUD_OSR_16 | (TM_UART_CLOCK_HZ / 8u / TM_UART_BAUD + 1u) / 2u;
  *tm_uart_register(CTRL) = CTRL_TE | CTRL_RE;
}

bool tm_wire_get(uint8_t *byte) {
  const uint32_t state = *tm_uart_register(STAT);
  if ((state & STAT_OR) != 0) {
    *tm_uart_register(STAT) = STAT_OR; /* nothing is received while it is set */
  }
  if ((state & STAT_RDRF) == 0) {
    return false;
  }
  *byte = (uint8_t)*tm_uart_register(DATA);
  return true;
}

void tm_wire_put(uint8_t byte) {
  while ((*tm_uart_register(STAT) & STAT_TDRE) == 0) {
  }
  *tm_uart_register(DATA) = byte;
}
