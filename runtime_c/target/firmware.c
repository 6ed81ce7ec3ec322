/* A board's firmware: runs the model on frames that come over a wire (wire.h), and answers with the
 * outputs. With TM_FRAMES the wire goes one way, and the frames are in the program.
 *
 * Both sides speak in packets: 'T' 'M', a kind, a status, the payload's length (32 bits), the
 * payload, and the CRC-32 (zlib's) of all that stands between 'M' and it. Numbers are
 * little-endian.
 *
 *   'D'  asks what is here. Answer 'd', all of 32 bits: TM_PROTOCOL; bytes of a chunk; chunks of a
 *        frame, 0 where the model runs when a front end has enough; bytes of all outputs; hertz of
 *        the core (0: not known); the digest of the model's C (two words); layers whose cycles are
 *        told; the counter that counts cycles and the one that the board's file names (cycles.h);
 *        bytes of the model's context; frames in the program and the CRC-32 of their bytes (both
 *        0 where frames come). Then the model's name.
 *   'I'  sets the model's variables to their initial values and begins a new frame. Answer 'i'.
 *   'R'  a chunk: all inputs in order, or one row where the input comes row by row, or up to a
 * chunk of what a front end takes. Answer 'r': nothing if more chunks belong to the frame; else the
 * cycles of the inference (64 bits, 0: not counted), the peak of the model's stack (32 bits, all 1:
 * it is full), the cycles of each layer (64 bits each), then all outputs in order.
 *
 * Answer 'e' to anything: the status says why. Between two packets any bytes may come. Where the
 * wire goes one way, 'd' and an 'r' for each frame come again and again, each behind some bytes of
 * 0, from which a decoder of trace packets finds its place. */
#include <stdalign.h>
#include <stdbool.h>

#include "cycles.h"
#include "port.h"
#include "stack.h"
#include "target.h"
#include "wire.h"

#define TM_PROTOCOL 2u

enum { ERROR_CRC = 1, ERROR_LENGTH = 2, ERROR_KIND = 3, ERROR_SILENCE = 4, ERROR_FAULT = 5 };
enum { ERROR_MODEL = 16 }; /* and more: plus the model's tm_status */

enum { HEADER = 6 }; /* bytes before the payload that the CRC covers */

#if defined(TM_MODEL_FRONTEND_BLOCK)
#define CHUNKS 0u
#elif defined(TM_MODEL_INPUT_ROWS)
#define CHUNKS ((uint32_t)TM_MODEL_INPUT_ROWS)
#else
#define CHUNKS 1u
#endif

#if defined(TM_PROFILE)
#define LAYERS ((uint32_t)TM_MODEL_LAYER_COUNT)
#else
#define LAYERS 0u
#endif

static tm_model_context context;
__attribute__((section(".tm_arena"))) alignas(
    16) static uint8_t arena[TM_MODEL_ARENA_BYTES > 0 ? TM_MODEL_ARENA_BYTES : 1];
#if defined(TM_MODEL_SLOW_BYTES)
__attribute__((section(".tm_slow"))) alignas(16) static uint8_t slow[TM_MODEL_SLOW_BYTES];
#endif

#if defined(TM_FRAMES)
/* All frames, one after the other; the build puts the file there. */
extern const uint8_t tm_frames[];
extern const uint8_t tm_frames_end[];
__asm__(
    ".section .rodata.tm_frames, \"a\", %progbits\n"
    ".balign 16\n"
    ".globl tm_frames, tm_frames_end\n"
    "tm_frames:\n"
    ".incbin \"frames.bin\"\n"
    "tm_frames_end:\n"
    ".byte 0\n"
    ".text\n");
static const uint8_t *next_frame; /* in place of the wire */
enum { FILLER = 16 };
#endif

static uint32_t crc;       /* of the packet that goes in or out */
static uint32_t chunk;     /* the next one of the frame */
static uint64_t spent;     /* cycles of the frame's chunks so far */
static uint32_t counter;   /* which counts them */
static tm_status answered; /* what init said */

#if defined(TM_MODEL_FRONTEND_BLOCK)
static struct {
  alignas(4) uint8_t bytes[TM_MODEL_FRONTEND_BLOCK * TM_MODEL_FRONTEND_UNIT_BYTES];
  int32_t count;
  int32_t ran;
} block;

static tm_status run_chunk_of_model(tm_model_context *model) {
  return tm_model_frontend_push(model, (const void *)block.bytes, block.count, &block.ran);
}
#elif defined(TM_MODEL_INPUT_ROWS)
static tm_status run_chunk_of_model(tm_model_context *model) {
  return tm_model_push_rows(model, NULL, 1);
}
#elif defined(TM_MODEL_STEP_ROWS)
static tm_status run_chunk_of_model(tm_model_context *model) {
  return tm_model_step(model, NULL);
}
#else
#define run_chunk_of_model tm_model_run
#endif

#if defined(TM_PROFILE)
void tm_profile(int32_t layer);

static uint64_t layer_cycles[LAYERS + 1u]; /* the last: of a front end */
static uint64_t from;                      /* where the layer that runs began */
static uint64_t hook_cost; /* cycles between the ends of two hooks in a row, nothing between them */
static uint64_t hooks;     /* cycles spent in hooks */

/* The model calls this behind each turn of a layer. */
void tm_profile(int32_t layer) {
  const uint64_t now = tm_cycles_now();
  const uint64_t passed = now - from;
  layer_cycles[layer] += passed > hook_cost ? passed - hook_cost : 0;
  from = tm_cycles_now();
  hooks += from - now + hook_cost;
}

static void forget_layers(void) {
  for (uint32_t layer = 0; layer <= LAYERS; ++layer) {
    layer_cycles[layer] = 0;
  }
  hooks = 0;
}

/* The least of some tries: the first fill caches. */
static void measure_hook(void) {
  uint64_t least = UINT64_MAX;
  hook_cost = 0;
  for (uint32_t turn = 0; turn < 8u; ++turn) {
    forget_layers();
    from = tm_cycles_now();
    tm_profile(0);
    least = layer_cycles[0] < least ? layer_cycles[0] : least;
  }
  hook_cost = least;
  forget_layers();
}
#endif

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

#if defined(TM_FRAMES)
/* From the frames in the program. */
static bool take_bytes(void *to, size_t bytes) {
  uint8_t *next = to;
  for (size_t index = 0; index < bytes; ++index) {
    next[index] = *next_frame;
    ++next_frame;
  }
  return true;
}
#else
/* The next byte; false after a silence. */
static bool take(uint8_t *byte) {
  for (uint32_t left = TM_PATIENCE; left != 0; --left) {
    if (tm_wire_get(byte)) {
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
#endif

static void give(uint8_t byte) {
  crc = crc_next(crc, byte);
  tm_wire_put(byte);
}

static void give_word(uint32_t word) {
  for (uint32_t shift = 0; shift < 32u; shift += 8u) {
    give((uint8_t)(word >> shift & 0xFFu));
  }
}

static void give_long(uint64_t word) {
  give_word((uint32_t)(word & UINT32_MAX));
  give_word((uint32_t)(word >> 32));
}

static void give_bytes(const void *from, size_t bytes) {
  const uint8_t *next = from;
  for (size_t index = 0; index < bytes; ++index) {
    give(next[index]);
  }
}

static void begin_answer(char kind, uint32_t status, size_t bytes) {
  tm_wire_put('T');
  tm_wire_put('M');
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
#if defined(TM_MODEL_FRONTEND_BLOCK)
  return sizeof block.bytes;
#elif defined(TM_MODEL_INPUT_ROWS)
  return TM_MODEL_INPUT_ROW_BYTES;
#else
  size_t bytes = 0;
  for (int index = 0; index < TM_MODEL_INPUT_COUNT; ++index) {
    bytes += tm_model_input_bytes(index);
  }
  return bytes;
#endif
}

/* Whether a chunk can have so many bytes. */
static bool is_chunk(uint32_t bytes) {
#if defined(TM_MODEL_FRONTEND_BLOCK)
  block.count = 0;
  for (; bytes >= TM_MODEL_FRONTEND_UNIT_BYTES && block.count < TM_MODEL_FRONTEND_BLOCK;
       bytes -= TM_MODEL_FRONTEND_UNIT_BYTES) {
    ++block.count;
  }
  return bytes == 0 && block.count != 0;
#else
  return bytes == chunk_bytes();
#endif
}

/* Straight to where the model reads it. */
static bool take_chunk(uint32_t bytes) {
#if defined(TM_MODEL_FRONTEND_BLOCK)
  return take_bytes(block.bytes, bytes);
#elif defined(TM_MODEL_INPUT_ROWS)
  (void)bytes;
  return take_bytes(tm_model_input_row(&context), TM_MODEL_INPUT_ROW_BYTES);
#else
  (void)bytes;
  for (int index = 0; index < TM_MODEL_INPUT_COUNT; ++index) {
    if (!take_bytes(tm_model_input(&context, index), tm_model_input_bytes(index))) {
      return false;
    }
  }
  return true;
#endif
}

static void begin_frame(void) {
  chunk = 0;
  spent = 0;
#if defined(TM_PROFILE)
  forget_layers();
#endif
}

static void begin_model(void) {
#if defined(TM_MODEL_SLOW_BYTES)
  answered = tm_model_init(&context, arena, TM_MODEL_ARENA_BYTES, slow, TM_MODEL_SLOW_BYTES);
#else
  answered = tm_model_init(&context, arena, TM_MODEL_ARENA_BYTES);
#endif
#if defined(TM_MODEL_STEP_ROWS)
  if (answered == TM_OK) {
    answered = tm_call_on_stack(tm_model_reset, &context, tm_link_model_stack_top);
  }
#endif
  begin_frame();
}

static uint32_t crc_of_frames(uint32_t *frames) {
  *frames = 0;
#if defined(TM_FRAMES)
  crc = UINT32_MAX;
  for (const uint8_t *byte = tm_frames; byte != tm_frames_end; ++byte) {
    crc = crc_next(crc, *byte);
  }
  *frames = TM_FRAMES;
  return crc ^ UINT32_MAX;
#else
  return 0;
#endif
}

static void describe(void) {
  static const char name[] = TM_MODEL_NAME;
  uint32_t frames;
  const uint32_t frames_crc = crc_of_frames(&frames);
  begin_answer('d', 0, 13u * 4u + sizeof name - 1u);
  give_word(TM_PROTOCOL);
  give_word((uint32_t)chunk_bytes());
  give_word(CHUNKS);
  give_word((uint32_t)output_bytes());
  give_word(TM_CORE_CLOCK_HZ);
  give_word(TM_MODEL_DIGEST_LOW);
  give_word(TM_MODEL_DIGEST_HIGH);
  give_word(LAYERS);
  give_word(counter);
  give_word(TM_COUNTER_NAMED);
  give_word(sizeof context);
  give_word(frames);
  give_word(frames_crc);
  give_bytes(name, sizeof name - 1u);
  end_answer();
}

/* Whether the chunk that was just run was the last of an inference. */
static bool frame_ends(void) {
  ++chunk;
#if defined(TM_MODEL_FRONTEND_BLOCK)
  return block.ran != 0;
#else
  return chunk == CHUNKS;
#endif
}

static void run_chunk(void) {
  const uint64_t start = tm_cycles_now();
#if defined(TM_PROFILE)
  const uint64_t hooks_before = hooks;
  from = start;
#endif
  const tm_status status = tm_call_on_stack(run_chunk_of_model, &context, tm_link_model_stack_top);
  spent += tm_cycles_now() - start;
#if defined(TM_PROFILE)
  spent -= hooks - hooks_before;
#endif
  if (status != TM_OK) {
    refuse(ERROR_MODEL + (uint32_t)status);
    begin_frame();
    return;
  }
  if (!frame_ends()) {
    begin_answer('r', 0, 0);
    end_answer();
    return;
  }
  begin_answer('r', 0, 12u + 8u * LAYERS + output_bytes());
  give_long(spent);
  give_word(tm_stack_peak());
#if defined(TM_PROFILE)
  for (uint32_t layer = 0; layer != LAYERS; ++layer) {
    give_long(layer_cycles[layer]);
  }
#endif
  for (int index = 0; index < TM_MODEL_OUTPUT_COUNT; ++index) {
    give_bytes(tm_model_output(&context, index), tm_model_output_bytes(index));
  }
  end_answer();
  begin_frame();
}

#if defined(TM_FRAMES)

static void run_next_chunk(void) {
  const size_t left = (size_t)(tm_frames_end - next_frame);
  const uint32_t bytes = (uint32_t)(left < chunk_bytes() ? left : chunk_bytes());
  if (is_chunk(bytes) && take_chunk(bytes)) {
    run_chunk();
  } else {
    next_frame = tm_frames_end;
    refuse(ERROR_LENGTH);
  }
}

static void give_filler(void) {
  for (uint32_t left = FILLER; left != 0; --left) {
    tm_wire_put(0);
  }
}

/* Whoever listens may come at any time. */
static _Noreturn void send_forever(void) {
  for (;;) {
    give_filler();
    describe();
    begin_model();
    next_frame = tm_frames;
    while (next_frame != tm_frames_end) {
      give_filler();
      if (answered != TM_OK) {
        refuse(ERROR_MODEL + (uint32_t)answered);
        break;
      }
      run_next_chunk();
    }
  }
}

#else
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
  const bool fits = header[0] == 'R' ? is_chunk(length) : length == 0;
  if (fits && header[0] == 'R' && answered == TM_OK) {
    if (!take_chunk(length)) {
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

#endif

int main(void) {
  tm_setup();
  tm_paint_stack();
  tm_wire_open();
  counter = tm_cycles_start();
#if defined(TM_PROFILE)
  measure_hook();
#endif
  begin_model();
#if defined(TM_FRAMES)
  send_forever();
#else
  uint8_t last = 0;
  for (;;) {
    uint8_t byte;
    if (!tm_wire_get(&byte)) {
      continue;
    }
    if (last == 'T' && byte == 'M') {
      serve();
      byte = 0;
    }
    last = byte;
  }
#endif
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
