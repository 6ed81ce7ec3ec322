/* Start-up of Cortex-M: the vector table, the FPU, the variables, main. */
#include "port.h"
#include "start.h"

#define VTOR (*(volatile uint32_t *)0xE000ED08u)
#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define CPACR_CP10_CP11 (0xFu << 20)

void tm_start(void);

static void fault(void) {
  tm_port_print("error the core took a fault\n");
  tm_port_exit(1);
}

void tm_tick(void);

/* SysTick's; a program that runs it has one of its own (cycles.c). */
__attribute__((weak)) void tm_tick(void) {
  fault();
}

typedef void (*handler)(void);

union vector {
  uint32_t *stack;
  handler handler;
};

__attribute__((section(".tm_vectors"), used)) static const union vector vectors[16] = {
    {.stack = tm_link_stack_top}, {.handler = tm_start}, {.handler = fault}, /* NMI */
    {.handler = fault},                                                      /* hard fault */
    {.handler = fault},                                                      /* memory management */
    {.handler = fault},                                                      /* bus */
    {.handler = fault},                                                      /* usage */
    {.handler = fault},                                                      /* secure */
    {.handler = fault},           {.handler = fault},    {.handler = fault},
    {.handler = fault},                               /* SVC */
    {.handler = fault},                               /* debug */
    {.handler = fault},           {.handler = fault}, /* PendSV */
    {.handler = tm_tick},                             /* SysTick */
};

void tm_start(void) {
#if !defined(__ARM_ARCH_6M__)
  VTOR = (uint32_t)(uintptr_t)vectors; /* a bootloader has its own */
#endif
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  CPACR |= CPACR_CP10_CP11;
  __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
  tm_start_memory();
  (void)main();
}
