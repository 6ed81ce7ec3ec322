/* Start-up of RV32 in machine mode: the stack, the thread pointer (the C library keeps errno
 * there), traps, the variables, main. */
#include "port.h"
#include "start.h"

void tm_start_c(void);
void tm_trap(void);

__asm__(
    ".section .tm_vectors, \"ax\", %progbits\n"
    ".globl tm_start\n"
    "tm_start:\n\t"
    "la sp, tm_link_stack_top\n\t"
    "la tp, tm_link_tls_start\n\t"
    "la t0, tm_trap\n\t"
    "csrw mtvec, t0\n\t"
    "j tm_start_c\n");

/* ESP32-C3 takes the address in steps of 256. */
__attribute__((aligned(256))) void tm_trap(void) {
  tm_port_print("error the core took a fault\n");
  tm_port_exit(1);
}

void tm_start_c(void) {
  tm_start_memory();
  (void)main();
}
