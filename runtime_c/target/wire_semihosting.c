/* A debugger's console, both ways (Arm and RISC-V semihosting). Without a debugger that takes the
 * calls the core faults. */
#include "semihosting.h"
#include "wire.h"

enum { HELD = 64 };

static uintptr_t keyboard;
static uintptr_t screen;
static uint8_t come[HELD];
static uintptr_t come_bytes;
static uintptr_t taken;
static uint8_t going[HELD];
static uintptr_t going_bytes;

static void flush(void) {
  if (going_bytes != 0) {
    (void)tm_semihosting_write(screen, going, going_bytes);
    going_bytes = 0;
  }
}

void tm_wire_open(void) {
  keyboard = tm_semihosting_open(":tt", TM_OPEN_READ_TEXT);
  screen = tm_semihosting_open(":tt", TM_OPEN_WRITE_TEXT);
}

/* What was sent goes out before, for now the other side is waited for. */
bool tm_wire_get(uint8_t *byte) {
  if (taken == come_bytes) {
    flush();
    come_bytes = HELD - tm_semihosting_read(keyboard, come, HELD);
    taken = 0;
    if (come_bytes == 0) {
      return false;
    }
  }
  *byte = come[taken];
  ++taken;
  return true;
}

void tm_wire_put(uint8_t byte) {
  going[going_bytes] = byte;
  ++going_bytes;
  if (going_bytes == HELD) {
    flush();
  }
}
