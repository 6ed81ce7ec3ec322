/* The harness as a process: files are stdio. */
#include <stdio.h>
#include <stdlib.h>

#include "port.h"

static FILE *input;
static FILE *output;

static _Noreturn void fail(const char *what) {
  printf("error %s\n", what);
  exit(1);
}

void tm_port_open_console(void) {
}

void tm_port_open(void) {
  input = fopen("input.bin", "rb");
  output = fopen("output.bin", "wb");
  if (input == NULL) {
    fail("input.bin can't be opened");
  }
  if (output == NULL) {
    fail("output.bin can't be opened");
  }
}

size_t tm_port_read(void *to, size_t bytes) {
  return fread(to, 1, bytes, input);
}

void tm_port_write(const void *from, size_t bytes) {
  if (fwrite(from, 1, bytes, output) != bytes) {
    fail("output.bin can't be written");
  }
}

void tm_port_print(const char *text) {
  fputs(text, stdout);
}

_Noreturn void tm_port_exit(int code) {
  if (input != NULL) {
    fclose(input);
  }
  if (output != NULL && fclose(output) != 0) {
    fail("output.bin can't be written");
  }
  exit(code);
}
