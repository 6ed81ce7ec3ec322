/* A board's firmware: runs the model on frames that come over a UART, and answers with the outputs.
 *
 * Both sides speak in packets: 'T' 'M', a kind, a status, the payload's length (32 bits), the
 * payload, and the CRC-32 (zlib's) of all that stands between 'M' and it. Numbers are
 * little-endian.
 *
 *   'D'  asks what is here. Answer 'd': TM_PROTOCOL, bytes of a chunk, chunks of a frame, bytes of
 *        all outputs, hertz of the core (0: not known), each 32 bits; then the model's name.
 *   'I'  sets the model's variables to their initial values and begins a new frame. Answer 'i'.
 *   'R'  a chunk: all inputs in order, or one row where the input comes row by row. Answer 'r':
 *        nothing if more chunks belong to the frame; else the cycles of the inference (32 bits,
 *        0: not counted), then all outputs in order.
 *
 * Answer 'e' to anything: the status says why. Between two packets any bytes may come. */
#include <stdalign.h>
#include <stdbool.h>

#include "cycles.h"
#include "port.h"
#include "target.h"
#include "uart.h"

#define TM_PROTOCOL 1u

enum { ERROR_CRC = 1, ERROR_LENGTH = 2, ERROR_KIND = 3, ERROR_SILENCE = 4, ERROR_FAULT = 5 };
enum { ERROR_MODEL = 16 }; /* and more: plus the model's tm_status */

enum { HEADER = 6 }; /* bytes before the payload that the CRC covers */

#if defined(TM_MODEL_INPUT_ROWS)
#define CHUNKS ((uint32_t)TM_MODEL_INPUT_ROWS)
#else
#define CHUNKS 1u
#endif

static tm_model_context context;
__attribute__((section(".tm_arena"))) alignas(
    16) static uint8_t arena[TM_MODEL_ARENA_BYTES > 0 ? TM_MODEL_ARENA_BYTES : 1];
#if defined(TM_MODEL_SLOW_BYTES)
__attribute__((section(".tm_slow"))) alignas(16) static uint8_t slow[TM_MODEL_SLOW_BYTES];
#endif

static uint32_t crc;       /* of the packet that goes in or out */
static uint32_t chunk;     /* the next one of the frame */
static uint32_t spent;     /* cycles of the frame's chunks so far */
static tm_status answered; /* what init said */

static void tm_setup(void) {
#if TM_SETUP_STEPS > 0
  static const struct {
    uint32_t wait;
    uint32_t address;
    uint32_t mask;
    uint32_t value;
  } steps[TM_SETUP_STEPS] = TM_SETUP;
  for (uint32_t index = 0; index < TM_SETUP_STEPS; ++index) {
    volatile uint32_t *at = (volatile uint32_t *)(uintptr_t)steps[index].address;
    const uint32_t mask = steps[index].mask;
    if (steps[index].wait != 0) {
      while ((*at & mask) != steps[index].value) {
      }
    } else if (mask == UINT32_MAX) {
      *at = steps[index].value;
    } else {
      *at = (*at & ~mask) | steps[index].value;
    }
  }
#endif
}

static uint32_t crc_next(uint32_t now, uint8_t byte) {
  static const uint32_t nibbles[16] = {
      0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
      0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
      0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
  };
  now ^= byte;
  now = now >> 4 ^ nibbles[now & 15u];
  return now >> 4 ^ nibbles[now & 15u];
}

/* The next byte; false after a silence. */
static bool take(uint8_t *byte) {
  for (uint32_t left = TM_PATIENCE; left != 0; --left) {
    if (tm_uart_get(byte)) {
      crc = crc_next(crc, *byte);
      return true;
    }
  }
  return false;
}

static bool take_bytes(void *to, size_t bytes) {
  uint8_t *next = to;
  for (size_t index = 0; index < bytes; ++index) {
    if (!take(&next[index])) {
      return false;
    }
  }
  return true;
}

static void give(uint8_t byte) {
  crc = crc_next(crc, byte);
  tm_uart_put(byte);
}

static void give_word(uint32_t word) {
  for (uint32_t shift = 0; shift < 32u; shift += 8u) {
    give((uint8_t)(word >> shift & 0xFFu));
  }
}

static void give_bytes(const void *from, size_t bytes) {
  const uint8_t *next = from;
  for (size_t index = 0; index < bytes; ++index) {
    give(next[index]);
  }
}

static void begin_answer(char kind, uint32_t status, size_t bytes) {
  tm_uart_put('T');
  tm_uart_put('M');
  crc = UINT32_MAX;
  give((uint8_t)kind);
  give((uint8_t)status);
  give_word((uint32_t)bytes);
}

static void end_answer(void) {
  give_word(crc ^ UINT32_MAX);
}

static void refuse(uint32_t status) {
  begin_answer('e', status, 0);
  end_answer();
}

static size_t output_bytes(void) {
  size_t bytes = 0;
  for (int index = 0; index < TM_MODEL_OUTPUT_COUNT; ++index) {
    bytes += tm_model_output_bytes(index);
  }
  return bytes;
}

static size_t chunk_bytes(void) {
#if defined(TM_MODEL_INPUT_ROWS)
  return TM_MODEL_INPUT_ROW_BYTES;
#else
  size_t bytes = 0;
  for (int index = 0; index < TM_MODEL_INPUT_COUNT; ++index) {
    bytes += tm_model_input_bytes(index);
  }
  return bytes;
#endif
}

/* Straight to where the model reads it. */
static bool take_chunk(void) {
#if defined(TM_MODEL_INPUT_ROWS)
  return take_bytes(tm_model_input_row(&context), TM_MODEL_INPUT_ROW_BYTES);
#else
  for (int index = 0; index < TM_MODEL_INPUT_COUNT; ++index) {
    if (!take_bytes(tm_model_input(&context, index), tm_model_input_bytes(index))) {
      return false;
    }
  }
  return true;
#endif
}

static void begin_model(void) {
#if defined(TM_MODEL_SLOW_BYTES)
  answered = tm_model_init(&context, arena, TM_MODEL_ARENA_BYTES, slow, TM_MODEL_SLOW_BYTES);
#else
  answered = tm_model_init(&context, arena, TM_MODEL_ARENA_BYTES);
#endif
  chunk = 0;
  spent = 0;
}

static void describe(void) {
  static const char name[] = TM_MODEL_NAME;
  begin_answer('d', 0, 20u + sizeof name - 1u);
  give_word(TM_PROTOCOL);
  give_word((uint32_t)chunk_bytes());
  give_word(CHUNKS);
  give_word((uint32_t)output_bytes());
  give_word(TM_CORE_CLOCK_HZ);
  give_bytes(name, sizeof name - 1u);
  end_answer();
}

static void run_chunk(void) {
  const uint32_t start = tm_cycles_now();
#if defined(TM_MODEL_INPUT_ROWS)
  const tm_status status = tm_model_push_rows(&context, NULL, 1);
#else
  const tm_status status = tm_model_run(&context);
#endif
  spent += tm_cycles_now() - start;
  if (status != TM_OK) {
    refuse(ERROR_MODEL + (uint32_t)status);
    chunk = 0;
    spent = 0;
    return;
  }
  ++chunk;
  if (chunk < CHUNKS) {
    begin_answer('r', 0, 0);
    end_answer();
    return;
  }
  begin_answer('r', 0, 4u + output_bytes());
  give_word(spent);
  for (int index = 0; index < TM_MODEL_OUTPUT_COUNT; ++index) {
    give_bytes(tm_model_output(&context, index), tm_model_output_bytes(index));
  }
  end_answer();
  chunk = 0;
  spent = 0;
}

/* Takes a packet's rest; 0 or what is wrong with it. */
static uint32_t take_packet(uint8_t *kind) {
  uint8_t header[HEADER];
  crc = UINT32_MAX;
  if (!take_bytes(header, HEADER)) {
    return ERROR_SILENCE;
  }
  *kind = header[0];
  const uint32_t length = (uint32_t)header[2] | (uint32_t)header[3] << 8 |
                          (uint32_t)header[4] << 16 | (uint32_t)header[5] << 24;
  const bool fits = length == (header[0] == 'R' ? chunk_bytes() : 0u);
  if (fits && header[0] == 'R' && answered == TM_OK) {
    if (!take_chunk()) {
      return ERROR_SILENCE;
    }
  } else {
    uint8_t ignored;
    for (uint32_t index = 0; index < length; ++index) {
      if (!take(&ignored)) {
        return fits ? ERROR_SILENCE : ERROR_LENGTH;
      }
    }
  }
  const uint32_t found = crc ^ UINT32_MAX;
  uint8_t end[4];
  if (!take_bytes(end, sizeof end)) {
    return ERROR_SILENCE;
  }
  const uint32_t wanted =
      (uint32_t)end[0] | (uint32_t)end[1] << 8 | (uint32_t)end[2] << 16 | (uint32_t)end[3] << 24;
  if (found != wanted) {
    return ERROR_CRC;
  }
  return fits ? 0 : ERROR_LENGTH;
}

static void serve(void) {
  uint8_t kind = 0;
  const uint32_t problem = take_packet(&kind);
  if (problem != 0) {
    refuse(problem);
  } else if (kind == 'D') {
    describe();
  } else if (kind == 'I') {
    begin_model();
    begin_answer('i', 0, 0);
    end_answer();
  } else if (kind != 'R') {
    refuse(ERROR_KIND);
  } else if (answered != TM_OK) {
    refuse(ERROR_MODEL + (uint32_t)answered);
  } else {
    run_chunk();
  }
}

int main(void) {
  tm_setup();
  tm_uart_open();
  tm_cycles_start();
  begin_model();
  uint8_t last = 0;
  for (;;) {
    uint8_t byte;
    if (!tm_uart_get(&byte)) {
      continue;
    }
    if (last == 'T' && byte == 'M') {
      serve();
      byte = 0;
    }
    last = byte;
  }
}

/* What start-up code calls where the core takes a fault. */
void tm_port_print(const char *text) {
  (void)text;
}

_Noreturn void tm_port_exit(int code) {
  (void)code;
  refuse(ERROR_FAULT);
  for (;;) {
  }
}
