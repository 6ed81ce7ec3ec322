/* tiny: made by tinymill. One context a model, one arena given by the caller.
 *
 *   static uint8_t arena[TINY_ARENA_BYTES];     aligned to 4 bytes
 *   tiny_context context;
 *   tiny_init(&context, arena, sizeof arena);
 *   write the input to tiny_input(&context, 0), call tiny_run(&context),
 *   read tiny_output(&context, 0).
 *
 * A run destroys its inputs: their bytes are used again (--keep-inputs keeps them).
 */
#ifndef TINY_H
#define TINY_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/tm_status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TINY_ARENA_BYTES 68
#define TINY_ARENA_ALIGN 4
#define TINY_STATE_BYTES 2
#define TINY_WEIGHTS_BYTES 394
#define TINY_LAYER_COUNT 3
#define TINY_INPUT_COUNT 1
#define TINY_OUTPUT_COUNT 1
#define TINY_FRAME_INPUT_BYTES 24
#define TINY_FRAME_OUTPUT_BYTES 2

/* input 0 'camera * / image': int8_t [1x3x4x2], real = 0.5 * (q - 3) (source [1x2x3x4], axes [0, 2, 3, 1]) */
/* output 0 'scores': int8_t [1x2], real = 0.125 * (q - 0) */

typedef struct {
  uint8_t *arena; /* TINY_ARENA_BYTES, the caller's */
  int64_t state[(TINY_STATE_BYTES + 7) / 8]; /* variables, kept between runs */
} tiny_context;

/* Binds the arena and sets the variables to their initial values. The arena holds nothing between runs. */
tm_status tiny_init(tiny_context *context, void *arena, size_t arena_bytes);

/* Where input `index` is written before a run; NULL if there is no such input. */
void *tiny_input(tiny_context *context, int index);
size_t tiny_input_bytes(int index);

/* Where output `index` is read after a run, until the next; NULL if there is no such output. */
const void *tiny_output(const tiny_context *context, int index);
size_t tiny_output_bytes(int index);

/* One inference. */
tm_status tiny_run(tiny_context *context);


#ifdef __cplusplus
}
#endif

#endif
