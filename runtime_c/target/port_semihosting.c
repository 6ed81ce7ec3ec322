/* The harness on a simulated (or debugged) core: files and text go through semihosting. */
#include "port.h"
#include "semihosting.h"

#define STOPPED_RUN_TIME_ERROR 0x20023u
#define STOPPED_APPLICATION_EXIT 0x20026u

static uintptr_t input;
static uintptr_t output;
static uintptr_t console;

static uintptr_t open_file(const char *name, uintptr_t mode) {
  const uintptr_t handle = tm_semihosting_open(name, mode);
  if (handle == UINTPTR_MAX) {
    tm_port_print("error ");
    tm_port_print(name);
    tm_port_print(" can't be opened\n");
    tm_port_exit(1);
  }
  return handle;
}

void tm_port_open_console(void) {
  console = open_file(":tt", TM_OPEN_WRITE_TEXT);
}

void tm_port_open(void) {
  tm_port_open_console();
  input = open_file("input.bin", TM_OPEN_READ_BINARY);
  output = open_file("output.bin", TM_OPEN_WRITE_BINARY);
}

size_t tm_port_read(void *to, size_t bytes) {
  return bytes - tm_semihosting_read(input, to, bytes);
}

void tm_port_write(const void *from, size_t bytes) {
  if (bytes != 0 && tm_semihosting_write(output, from, bytes) != 0) {
    tm_port_print("error output.bin can't be written\n");
    tm_port_exit(1);
  }
}

void tm_port_print(const char *text) {
  (void)tm_semihosting_write(console, text, tm_text_bytes(text));
}

static void close_file(uintptr_t handle) {
  if (handle != 0) {
    (void)tm_call_host(TM_SYS_CLOSE, (uintptr_t)&handle);
  }
}

_Noreturn void tm_port_exit(int code) {
  close_file(input);
  close_file(output);
  for (;;) {
    const uintptr_t reason = code == 0 ? STOPPED_APPLICATION_EXIT : STOPPED_RUN_TIME_ERROR;
    (void)tm_call_host(TM_SYS_EXIT, reason);
  }
}
