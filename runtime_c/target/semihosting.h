/* Semihosting: calls that a debugger or a simulator answers. For one file of a program. */
#ifndef TM_TARGET_SEMIHOSTING_H
#define TM_TARGET_SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

enum {
  TM_SYS_OPEN = 0x01,
  TM_SYS_CLOSE = 0x02,
  TM_SYS_WRITE = 0x05,
  TM_SYS_READ = 0x06,
  TM_SYS_EXIT = 0x18,
};

enum {
  TM_OPEN_READ_TEXT = 0,
  TM_OPEN_READ_BINARY = 1,
  TM_OPEN_WRITE_TEXT = 4,
  TM_OPEN_WRITE_BINARY = 5,
};

#if defined(__riscv)
/* The host knows the call by the two no-operations around ebreak; all three must be 32 bits
 * wide and in one page. */
uintptr_t tm_call_host(uintptr_t operation, uintptr_t argument);
__asm__(
    ".section .text.tm_call_host, \"ax\", %progbits\n"
    ".balign 16\n"
    ".globl tm_call_host\n"
    ".type tm_call_host, %function\n"
    "tm_call_host:\n\t"
    ".option push\n\t"
    ".option norvc\n\t"
    "slli x0, x0, 0x1f\n\t"
    "ebreak\n\t"
    "srai x0, x0, 7\n\t"
    ".option pop\n\t"
    "ret\n"
    ".size tm_call_host, . - tm_call_host\n");
#else
static inline uintptr_t tm_call_host(uintptr_t operation, uintptr_t argument) {
  register uintptr_t r0 __asm__("r0") = operation;
  register uintptr_t r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}
#endif

static inline size_t tm_text_bytes(const char *text) {
  size_t bytes = 0;
  while (text[bytes] != '\0') {
    ++bytes;
  }
  return bytes;
}

/* A file's handle; UINTPTR_MAX where it can't be opened. */
static inline uintptr_t tm_semihosting_open(const char *name, uintptr_t mode) {
  const uintptr_t arguments[3] = {(uintptr_t)name, mode, tm_text_bytes(name)};
  return tm_call_host(TM_SYS_OPEN, (uintptr_t)arguments);
}

/* How many bytes were not written. */
static inline uintptr_t tm_semihosting_write(uintptr_t handle, const void *from, size_t bytes) {
  const uintptr_t arguments[3] = {handle, (uintptr_t)from, bytes};
  return tm_call_host(TM_SYS_WRITE, (uintptr_t)arguments);
}

/* How many bytes were not read: all at the end, fewer where no more are there yet. */
static inline uintptr_t tm_semihosting_read(uintptr_t handle, void *to, size_t bytes) {
  const uintptr_t arguments[3] = {handle, (uintptr_t)to, bytes};
  const uintptr_t missing = tm_call_host(TM_SYS_READ, (uintptr_t)arguments);
  return missing <= bytes ? missing : bytes;
}

#endif
