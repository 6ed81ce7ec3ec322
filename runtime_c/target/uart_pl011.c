/* Arm's PL011, as in RP2040 and RP2350 (PrimeCell UART PL011 Technical Reference Manual). */
#include "uart.h"

enum { DR = 0x00, FR = 0x18, IBRD = 0x24, FBRD = 0x28, LCR_H = 0x2C, CR = 0x30 };

#define FR_RXFE (1u << 4)
#define FR_TXFF (1u << 5)
#define LCR_H_FEN (1u << 4)
#define LCR_H_WLEN_8 (3u << 5)
#define CR_UARTEN (1u << 0)
#define CR_TXE (1u << 8)
#define CR_RXE (1u << 9)

/* clock / (16 * baud), in 64ths, rounded. */
#define DIVISOR ((uint32_t)(((uint64_t)TM_UART_CLOCK_HZ * 8u / TM_UART_BAUD + 1u) / 2u))

void tm_wire_open(void) {
  *tm_uart_register(CR) = 0;
  *tm_uart_register(IBRD) = DIVISOR >> 6;
  *tm_uart_register(FBRD) = DIVISOR & 63u;
  /* Takes the divisor over, so it comes last. */
  *tm_uart_register(LCR_H) = LCR_H_WLEN_8 | LCR_H_FEN;
  *tm_uart_register(CR) = CR_UARTEN | CR_TXE | CR_RXE;
}

bool tm_wire_get(uint8_t *byte) {
  if ((*tm_uart_register(FR) & FR_RXFE) != 0) {
    return false;
  }
  *byte = (uint8_t)*tm_uart_register(DR);
  return true;
}

void tm_wire_put(uint8_t byte) {
  while ((*tm_uart_register(FR) & FR_TXFF) != 0) {
  }
  *tm_uart_register(DR) = byte;
}
