/* USART of STM32F4 and F2 (RM0368, RM0390: USART registers). */
#include "uart.h"

enum { SR = 0x00, DR = 0x04, BRR = 0x08, CR1 = 0x0C };

#define SR_RXNE (1u << 5)
#define SR_TXE (1u << 7)
#define CR1_RE (1u << 2)
#define CR1_TE (1u << 3)
#define CR1_UE (1u << 13)

void tm_wire_open(void) {
  *tm_uart_register(CR1) = 0;
  *tm_uart_register(BRR) = (TM_UART_CLOCK_HZ + TM_UART_BAUD / 2u) / TM_UART_BAUD;
  *tm_uart_register(CR1) = CR1_UE | CR1_TE | CR1_RE;
}

bool tm_wire_get(uint8_t *byte) {
  if ((*tm_uart_register(SR) & SR_RXNE) == 0) {
    return false;
  }
  *byte = (uint8_t)*tm_uart_register(DR);
  return true;
}

void tm_wire_put(uint8_t byte) {
  while ((*tm_uart_register(SR) & SR_TXE) == 0) {
  }
  *tm_uart_register(DR) = byte;
}
