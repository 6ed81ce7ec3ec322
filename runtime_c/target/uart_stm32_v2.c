/* USART of STM32F7, H7, L4 and U5 (RM0385, RM0433, RM0432, RM0456: USART registers). The LPUART is
 * the same with a divisor 256 times as large: the board gives it a clock 256 times as fast. */
#include "uart.h"

enum { CR1 = 0x00, BRR = 0x0C, ISR = 0x1C, ICR = 0x20, RDR = 0x24, TDR = 0x28 };

#define CR1_UE (1u << 0)
#define CR1_RE (1u << 2)
#define CR1_TE (1u << 3)
#define ISR_ORE (1u << 3)
#define ISR_RXNE (1u << 5)
#define ISR_TXE (1u << 7)

void tm_wire_open(void) {
  *tm_uart_register(CR1) = 0;
  *tm_uart_register(BRR) = (TM_UART_CLOCK_HZ + TM_UART_BAUD / 2u) / TM_UART_BAUD;
  *tm_uart_register(CR1) = CR1_UE | CR1_TE | CR1_RE;
}

bool tm_wire_get(uint8_t *byte) {
  const uint32_t state = *tm_uart_register(ISR);
  if ((state & ISR_ORE) != 0) {
    *tm_uart_register(ICR) = ISR_ORE;
  }
  if ((state & ISR_RXNE) == 0) {
    return false;
  }
  *byte = (uint8_t)*tm_uart_register(RDR);
  return true;
}

void tm_wire_put(uint8_t byte) {
  while ((*tm_uart_register(ISR) & ISR_TXE) == 0) {
  }
  *tm_uart_register(TDR) = byte;
}
