/* Runs the model on every frame of input.bin and writes output.bin. A frame is all inputs (or
 * outputs) in order, without gaps; with a front end, input.bin is what the sensor gives. With
 * TM_TRAIN a frame is a step of training: all inputs, label and rate; its output is the loss. The
 * figures printed at the end are read by tinymill. */
#include <stdalign.h>
#include <stdbool.h>

#include "measure.h"
#include "port.h"

#define TM_ARENA_FILL 0xA5u /* a model must not rely on a cleared arena */

static tm_model_context context;

#if defined(TM_HOST)
alignas(16) static uint8_t arena[TM_MODEL_ARENA_BYTES > 0 ? TM_MODEL_ARENA_BYTES : 1];
#else
__attribute__((section(".tm_arena"))) alignas(
    16) static uint8_t arena[TM_MODEL_ARENA_BYTES > 0 ? TM_MODEL_ARENA_BYTES : 1];
#endif

#if defined(TM_MODEL_SLOW_BYTES)
#if defined(TM_HOST)
alignas(16) static uint8_t slow[TM_MODEL_SLOW_BYTES];
#else
__attribute__((section(".tm_slow"))) alignas(16) static uint8_t slow[TM_MODEL_SLOW_BYTES];
#endif
#endif

/* Division would pull in the compiler's library, which counts as the model's code. */
static void print_decimal(uint64_t value) {
  static const uint64_t powers[] = {
      10000000000000000000u,
      1000000000000000000u,
      100000000000000000u,
      10000000000000000u,
      1000000000000000u,
      100000000000000u,
      10000000000000u,
      1000000000000u,
      100000000000u,
      10000000000u,
      1000000000u,
      100000000u,
      10000000u,
      1000000u,
      100000u,
      10000u,
      1000u,
      100u,
      10u,
      1u,
  };
  char text[2] = {'0', '\0'};
  bool started = false;
  for (size_t place = 0; place < sizeof powers / sizeof powers[0]; ++place) {
    text[0] = '0';
    while (value >= powers[place]) {
      value -= powers[place];
      ++text[0];
    }
    started = started || text[0] != '0' || powers[place] == 1u;
    if (started) {
      tm_port_print(text);
    }
  }
}

void tm_print_figure(const char *name, uint64_t value) {
  tm_port_print(name);
  tm_port_print(" ");
  print_decimal(value);
  tm_port_print("\n");
}

void tm_print_indexed(const char *name, uint32_t index, uint64_t value) {
  tm_port_print(name);
  tm_port_print(" ");
  print_decimal(index);
  tm_port_print(" ");
  print_decimal(value);
  tm_port_print("\n");
}

static void stop_inside_a_frame(void) {
  tm_port_print("error the input ends inside a frame\n");
  tm_port_exit(1);
}

#if defined(TM_TRAIN)
static struct {
  int32_t label;
  float rate;
} step;
static float loss;

/* Its instructions count as the model's, as does where it lies. */
__attribute__((section(".tm_push"))) static tm_status train_once(tm_model_context *model) {
  return tm_model_train_step(model, step.label, step.rate, &loss);
}

/* Reads one frame and takes a step; false at the end of the file. */
static bool run_frame(tm_status *status) {
  size_t wanted = sizeof step;
  size_t found = 0;
  for (int index = 0; index < TM_MODEL_INPUT_COUNT; ++index) {
    wanted += tm_model_input_bytes(index);
    found += tm_port_read(tm_model_input(&context, index), tm_model_input_bytes(index));
  }
  if (found == 0) {
    return false;
  }
  found += tm_port_read(&step, sizeof step);
  if (found != wanted) {
    stop_inside_a_frame();
  }
  *status = tm_measure_call(train_once, &context);
  return true;
}
#elif defined(TM_MODEL_FRONTEND_BLOCK)
static struct {
  alignas(4) uint8_t bytes[TM_MODEL_FRONTEND_BLOCK * TM_MODEL_FRONTEND_UNIT_BYTES];
  int32_t count;
  int32_t ran;
} block;

static tm_status push_block(tm_model_context *model) {
  return tm_model_frontend_push(model, (const void *)block.bytes, block.count, &block.ran);
}

/* Pushes what the sensor gives, block by block, until the model has run; false at the end of the
 * file. */
static bool run_frame(tm_status *status) {
  do {
    const size_t found = tm_port_read(block.bytes, sizeof block.bytes);
    if (found == 0) {
      return false;
    }
    block.count = 0;
    size_t whole = 0;
    for (; whole + TM_MODEL_FRONTEND_UNIT_BYTES <= found; whole += TM_MODEL_FRONTEND_UNIT_BYTES) {
      ++block.count;
    }
    if (whole != found) {
      stop_inside_a_frame();
    }
    *status = tm_measure_call(push_block, &context);
  } while (*status == TM_OK && block.ran == 0);
  return true;
}
#elif defined(TM_MODEL_INPUT_ROWS)
/* Its instructions count as the model's, as does where it lies. */
__attribute__((section(".tm_push"))) static tm_status push_row(tm_model_context *model) {
  return tm_model_push_rows(model, NULL, 1);
}

/* Reads one frame row by row, each straight to its place, and runs the model on it; false at the
 * end of the file. */
static bool run_frame(tm_status *status) {
  for (int32_t row = 0; row < TM_MODEL_INPUT_ROWS && *status == TM_OK; ++row) {
    const size_t found = tm_port_read(tm_model_input_row(&context), TM_MODEL_INPUT_ROW_BYTES);
    if (found == 0 && row == 0) {
      return false;
    }
    if (found != TM_MODEL_INPUT_ROW_BYTES) {
      stop_inside_a_frame();
    }
    *status = tm_measure_call(push_row, &context);
  }
  return true;
}
#else
#if defined(TM_MODEL_STEP_ROWS)
/* The frame is the new rows of a step. */
static tm_status run_once(tm_model_context *model) {
  return tm_model_step(model, NULL);
}
#else
#define run_once tm_model_run
#endif

/* Reads one frame and runs the model on it; false at the end of the file. */
static bool run_frame(tm_status *status) {
  size_t wanted = 0;
  size_t found = 0;
  for (int index = 0; index < TM_MODEL_INPUT_COUNT; ++index) {
    wanted += tm_model_input_bytes(index);
    found += tm_port_read(tm_model_input(&context, index), tm_model_input_bytes(index));
  }
  if (found == 0) {
    return false;
  }
  if (found != wanted) {
    stop_inside_a_frame();
  }
  *status = tm_measure_call(run_once, &context);
  return true;
}
#endif

int main(void) {
  uint64_t frames = 0;
  tm_port_open();
  for (size_t index = 0; index < sizeof arena; ++index) {
    arena[index] = TM_ARENA_FILL;
  }
  tm_measure_start(&context);
#if defined(TM_MODEL_SLOW_BYTES)
  for (size_t index = 0; index < sizeof slow; ++index) {
    slow[index] = TM_ARENA_FILL;
  }
  tm_status status =
      tm_model_init(&context, arena, TM_MODEL_ARENA_BYTES, slow, TM_MODEL_SLOW_BYTES);
#else
  tm_status status = tm_model_init(&context, arena, TM_MODEL_ARENA_BYTES);
#endif
#if defined(TM_MODEL_STEP_ROWS)
  if (status == TM_OK) {
    status = tm_measure_prepare(tm_model_reset, &context);
  }
#endif
  while (status == TM_OK && run_frame(&status)) {
    tm_measure_end_frame();
#if defined(TM_TRAIN)
    tm_port_write(&loss, sizeof loss);
#else
    for (int index = 0; index < TM_MODEL_OUTPUT_COUNT; ++index) {
      tm_port_write(tm_model_output(&context, index), tm_model_output_bytes(index));
    }
#endif
    ++frames;
  }
  tm_print_figure("status", (uint64_t)status);
  tm_print_figure("frames", frames);
  tm_print_figure("context", sizeof context);
#if defined(TM_MODEL_SLOW_BYTES)
  tm_print_figure("arena", TM_MODEL_ARENA_BYTES + TM_MODEL_SLOW_BYTES);
#else
  tm_print_figure("arena", TM_MODEL_ARENA_BYTES);
#endif
#if defined(TM_TRAIN)
  tm_print_figure("trained_crc32", tm_model_trained_crc32(&context));
#endif
  if (frames != 0) {
    tm_measure_report();
  }
  tm_port_print("end\n");
  tm_port_exit(0);
}
