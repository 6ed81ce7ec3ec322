/* UART of Arm's MPS2 and MPS3 images (Cortex-M System Design Kit Technical Reference Manual: APB
 * UART). */
#include "uart.h"

enum { DATA = 0x00, STATE = 0x04, CTRL = 0x08, BAUDDIV = 0x10 };

#define STATE_TX_FULL (1u << 0)
#define STATE_RX_FULL (1u << 1)
#define CTRL_TX (1u << 0)
#define CTRL_RX (1u << 1)

void tm_wire_open(void) {
  *tm_uart_register(BAUDDIV) = (TM_UART_CLOCK_HZ + TM_UART_BAUD / 2u) / TM_UART_BAUD;
  *tm_uart_register(CTRL) = CTRL_TX | CTRL_RX;
}

bool tm_wire_get(uint8_t *byte) {
  if ((*tm_uart_register(STATE) & STATE_RX_FULL) == 0) {
    return false;
  }
  *byte = (uint8_t)*tm_uart_register(DATA);
  return true;
}

void tm_wire_put(uint8_t byte) {
  while ((*tm_uart_register(STATE) & STATE_TX_FULL) != 0) {
  }
  *tm_uart_register(DATA) = byte;
}
