/* The model as a shared library: any number of contexts, and runs over many frames at once. A
 * frame is all inputs (or outputs) in order, without gaps, as in main.c. */
#include <string.h>

#include "target.h"

#define TM_EXPORT __attribute__((visibility("default")))
#define TM_ARENA_FILL 0xA5 /* a model must not rely on a cleared arena */

TM_EXPORT size_t tm_library_context_bytes(void);
TM_EXPORT size_t tm_library_arena_bytes(void);
TM_EXPORT size_t tm_library_slow_bytes(void);
TM_EXPORT size_t tm_library_input_bytes(void);
TM_EXPORT size_t tm_library_output_bytes(void);
TM_EXPORT tm_status tm_library_init(tm_model_context *context, void *arena, void *slow);
TM_EXPORT tm_status tm_library_run(tm_model_context *context, const uint8_t *from, uint8_t *to,
                                   size_t frames);

#if defined(TM_MODEL_CLASSES)
TM_EXPORT size_t tm_library_saved_bytes(void);
TM_EXPORT tm_status tm_library_train(tm_model_context *context, const uint8_t *from,
                                     const int32_t *labels, const float *rates, float *losses,
                                     size_t steps);
TM_EXPORT uint32_t tm_library_trained_crc32(const tm_model_context *context);
TM_EXPORT tm_status tm_library_save(const tm_model_context *context, void *image, size_t bytes);
TM_EXPORT tm_status tm_library_load(tm_model_context *context, const void *image, size_t bytes);
#endif

size_t tm_library_context_bytes(void) {
  return sizeof(tm_model_context);
}

size_t tm_library_arena_bytes(void) {
  return TM_MODEL_ARENA_BYTES;
}

size_t tm_library_slow_bytes(void) {
#if defined(TM_MODEL_SLOW_BYTES)
  return TM_MODEL_SLOW_BYTES;
#else
  return 0;
#endif
}

size_t tm_library_input_bytes(void) {
  size_t bytes = 0;
  for (int index = 0; index < TM_MODEL_INPUT_COUNT; ++index) {
    bytes += tm_model_input_bytes(index);
  }
  return bytes;
}

size_t tm_library_output_bytes(void) {
  size_t bytes = 0;
  for (int index = 0; index < TM_MODEL_OUTPUT_COUNT; ++index) {
    bytes += tm_model_output_bytes(index);
  }
  return bytes;
}

/* `arena` and `slow` are aligned, tm_library_arena_bytes() and tm_library_slow_bytes() long. */
tm_status tm_library_init(tm_model_context *context, void *arena, void *slow) {
  memset(arena, TM_ARENA_FILL, TM_MODEL_ARENA_BYTES);
#if defined(TM_MODEL_SLOW_BYTES)
  memset(slow, TM_ARENA_FILL, TM_MODEL_SLOW_BYTES);
  return tm_model_init(context, arena, TM_MODEL_ARENA_BYTES, slow, TM_MODEL_SLOW_BYTES);
#else
  (void)slow;
  return tm_model_init(context, arena, TM_MODEL_ARENA_BYTES);
#endif
}

/* Runs `frames` frames one after the other; stops at the first error. */
tm_status tm_library_run(tm_model_context *context, const uint8_t *from, uint8_t *to,
                         size_t frames) {
  for (size_t frame = 0; frame < frames; ++frame) {
#if defined(TM_MODEL_INPUT_ROWS)
    const tm_status status = tm_model_push_rows(context, from, TM_MODEL_INPUT_ROWS);
    from += (size_t)TM_MODEL_INPUT_ROWS * TM_MODEL_INPUT_ROW_BYTES;
#else
    for (int index = 0; index < TM_MODEL_INPUT_COUNT; ++index) {
      memcpy(tm_model_input(context, index), from, tm_model_input_bytes(index));
      from += tm_model_input_bytes(index);
    }
    const tm_status status = tm_model_run(context);
#endif
    if (status != TM_OK) {
      return status;
    }
    for (int index = 0; index < TM_MODEL_OUTPUT_COUNT; ++index) {
      memcpy(to, tm_model_output(context, index), tm_model_output_bytes(index));
      to += tm_model_output_bytes(index);
    }
  }
  return TM_OK;
}

#if defined(TM_MODEL_CLASSES)
size_t tm_library_saved_bytes(void) {
  return TM_MODEL_SAVED_BYTES;
}

/* Takes `steps` steps of training one after the other; stops at the first error. */
tm_status tm_library_train(tm_model_context *context, const uint8_t *from, const int32_t *labels,
                           const float *rates, float *losses, size_t steps) {
  for (size_t step = 0; step < steps; ++step) {
    for (int index = 0; index < TM_MODEL_INPUT_COUNT; ++index) {
      memcpy(tm_model_input(context, index), from, tm_model_input_bytes(index));
      from += tm_model_input_bytes(index);
    }
    const tm_status status = tm_model_train_step(context, labels[step], rates[step], &losses[step]);
    if (status != TM_OK) {
      return status;
    }
  }
  return TM_OK;
}

uint32_t tm_library_trained_crc32(const tm_model_context *context) {
  return tm_model_trained_crc32(context);
}

tm_status tm_library_save(const tm_model_context *context, void *image, size_t bytes) {
  return tm_model_save(context, image, bytes);
}

tm_status tm_library_load(tm_model_context *context, const void *image, size_t bytes) {
  return tm_model_load(context, image, bytes);
}
#endif
