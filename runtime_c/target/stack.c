#include "stack.h"

#define STACK_PAINT 0xC3965AF0u /* no byte that fills the arena */

#if defined(__riscv)
__asm__(
    ".section .text.tm_calls, \"ax\", %progbits\n"
    ".globl tm_call_on_stack\n"
    ".type tm_call_on_stack, %function\n"
    "tm_call_on_stack:\n\t"
    "addi sp, sp, -16\n\t"
    "sw ra, 12(sp)\n\t"
    "sw s0, 8(sp)\n\t"
    "mv s0, sp\n\t"
    "mv t0, a0\n\t"
    "mv a0, a1\n\t"
    "mv sp, a2\n\t"
    "jalr ra, 0(t0)\n\t"
    "mv sp, s0\n\t"
    "lw s0, 8(sp)\n\t"
    "lw ra, 12(sp)\n\t"
    "addi sp, sp, 16\n\t"
    "ret\n"
    ".size tm_call_on_stack, . - tm_call_on_stack\n"
    ".globl tm_empty_call\n"
    ".type tm_empty_call, %function\n"
    "tm_empty_call:\n\t"
    "ret\n"
    ".size tm_empty_call, . - tm_empty_call\n");
#else
__asm__(
    ".syntax unified\n"
    ".section .text.tm_calls, \"ax\", %progbits\n"
    ".thumb\n"
    ".globl tm_call_on_stack\n"
    ".type tm_call_on_stack, %function\n"
    ".thumb_func\n"
    "tm_call_on_stack:\n\t"
    "push {r4, lr}\n\t"
    "mov r4, sp\n\t"
    "mov r3, r0\n\t"
    "mov r0, r1\n\t"
    "mov sp, r2\n\t"
    "blx r3\n\t"
    "mov sp, r4\n\t"
    "pop {r4, pc}\n"
    ".size tm_call_on_stack, . - tm_call_on_stack\n"
    ".globl tm_empty_call\n"
    ".type tm_empty_call, %function\n"
    ".thumb_func\n"
    "tm_empty_call:\n\t"
    "bx lr\n"
    ".size tm_empty_call, . - tm_empty_call\n");
#endif

void tm_paint_stack(void) {
  for (uint32_t *word = tm_link_model_stack_low; word < tm_link_model_stack_top; ++word) {
    *word = STACK_PAINT;
  }
}

uint32_t tm_stack_peak(void) {
  const uint32_t *lowest = tm_link_model_stack_low;
  while (lowest < tm_link_model_stack_top && *lowest == STACK_PAINT) {
    ++lowest;
  }
  if (lowest == tm_link_model_stack_low) {
    return TM_STACK_FULL;
  }
  return (uint32_t)((uintptr_t)tm_link_model_stack_top - (uintptr_t)lowest);
}
