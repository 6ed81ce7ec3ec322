/* The harness on a simulated (or debugged) core: files and text go through semihosting. */
#include <stdint.h>

#include "port.h"

enum {
  SYS_OPEN = 0x01,
  SYS_CLOSE = 0x02,
  SYS_WRITE = 0x05,
  SYS_READ = 0x06,
  SYS_EXIT = 0x18,
};

enum { OPEN_READ_BINARY = 1, OPEN_WRITE_BINARY = 5, OPEN_WRITE_TEXT = 4 };
#define STOPPED_RUN_TIME_ERROR 0x20023u
#define STOPPED_APPLICATION_EXIT 0x20026u

static uintptr_t input;
static uintptr_t output;
static uintptr_t console;

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
static uintptr_t tm_call_host(uintptr_t operation, uintptr_t argument) {
  register uintptr_t r0 __asm__("r0") = operation;
  register uintptr_t r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}
#endif

static size_t text_bytes(const char *text) {
  size_t bytes = 0;
  while (text[bytes] != '\0') {
    ++bytes;
  }
  return bytes;
}

static uintptr_t open_file(const char *name, uintptr_t mode) {
  const uintptr_t arguments[3] = {(uintptr_t)name, mode, text_bytes(name)};
  const uintptr_t handle = tm_call_host(SYS_OPEN, (uintptr_t)arguments);
  if (handle == UINTPTR_MAX) {
    tm_port_print("error ");
    tm_port_print(name);
    tm_port_print(" can't be opened\n");
    tm_port_exit(1);
  }
  return handle;
}

static uintptr_t write_bytes(uintptr_t handle, const void *from, size_t bytes) {
  const uintptr_t arguments[3] = {handle, (uintptr_t)from, bytes};
  return tm_call_host(SYS_WRITE, (uintptr_t)arguments);
}

void tm_port_open_console(void) {
  console = open_file(":tt", OPEN_WRITE_TEXT);
}

void tm_port_open(void) {
  tm_port_open_console();
  input = open_file("input.bin", OPEN_READ_BINARY);
  output = open_file("output.bin", OPEN_WRITE_BINARY);
}

size_t tm_port_read(void *to, size_t bytes) {
  const uintptr_t arguments[3] = {input, (uintptr_t)to, bytes};
  const uintptr_t missing = tm_call_host(SYS_READ, (uintptr_t)arguments);
  return missing <= bytes ? bytes - missing : 0;
}

void tm_port_write(const void *from, size_t bytes) {
  if (bytes != 0 && write_bytes(output, from, bytes) != 0) {
    tm_port_print("error output.bin can't be written\n");
    tm_port_exit(1);
  }
}

void tm_port_print(const char *text) {
  (void)write_bytes(console, text, text_bytes(text));
}

static void close_file(uintptr_t handle) {
  if (handle != 0) {
    (void)tm_call_host(SYS_CLOSE, (uintptr_t)&handle);
  }
}

_Noreturn void tm_port_exit(int code) {
  close_file(input);
  close_file(output);
  for (;;) {
    const uintptr_t reason = code == 0 ? STOPPED_APPLICATION_EXIT : STOPPED_RUN_TIME_ERROR;
    (void)tm_call_host(SYS_EXIT, reason);
  }
}
