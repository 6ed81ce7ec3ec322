/* tiny: made by tinymill. */
#include "tiny.h"

#include <math.h>
#include <string.h>

#include "tiny_weights.h"

#define TM_RESCALE_FIXED
#include "kernels/tm_copy_b8.c"
#define TM_FIELD 16
#define TM_BLOCK 4
#define TM_UP 7
#define TM_SIGNED 0
#define TM_CLAMPED 1
#undef TM_INSTANCE
#define TM_INSTANCE(name) name##_16_4_7_0_1
#include "kernels/tm_conv2d_pairs_s8.c"
#undef TM_INSTANCE
#undef TM_FIELD
#undef TM_BLOCK
#undef TM_UP
#undef TM_SIGNED
#undef TM_CLAMPED
#define TM_FIELD 16
#define TM_BLOCK 4
#define TM_UP 7
#define TM_SIGNED 1
#define TM_CLAMPED 0
#undef TM_INSTANCE
#define TM_INSTANCE(name) name##_16_4_7_1_0
#include "kernels/tm_dense_pairs_s8.c"
#undef TM_INSTANCE
#undef TM_FIELD
#undef TM_BLOCK
#undef TM_UP
#undef TM_SIGNED
#undef TM_CLAMPED

#ifdef TM_PROFILE
void tm_profile(int32_t layer);
#define TM_STEP_DONE(layer) tm_profile(layer)
#else
#define TM_STEP_DONE(layer) ((void)0)
#endif

static const tm_conv2d_s8_params tiny_p0 = {
    .in_w = 4,
    .in_c = 2,
    .out_w = 4,
    .out_c = 1,
    .kernel_h = 3,
    .kernel_w = 3,
    .stride_h = 1,
    .stride_w = 1,
    .dilation_h = 1,
    .dilation_w = 1,
    .pad_top = 1,
    .pad_left = 1,
    .group_in = 2,
    .group_out = 1,
    .multiplier = NULL,
    .shift = NULL,
    .out_zero = -8,
    .lo = -8,
    .hi = 127,
    .scale = NULL,
    .exceptions = NULL,
};

static const tm_dense_s8_params tiny_p1 = {
    .rows = 1,
    .depth = 12,
    .outs = 2,
    .multiplier = NULL,
    .shift = NULL,
    .out_zero = 0,
    .lo = -128,
    .hi = 127,
    .scale = NULL,
    .exceptions = NULL,
};

static const tm_copy_b8_params tiny_p2 = {
    .bytes = 2,
};


tm_status tiny_init(tiny_context *context, void *arena, size_t arena_bytes) {
  context->arena = NULL;
  if (arena_bytes < TINY_ARENA_BYTES) {
    return TM_ARENA_TOO_SMALL;
  }
  if ((uintptr_t)arena % TINY_ARENA_ALIGN != 0) {
    return TM_ARENA_MISALIGNED;
  }
  context->arena = (uint8_t *)arena;
  memcpy((uint8_t *)context->state + 0, tiny_w3, 2); /* last */
  return TM_OK;
}

void *tiny_input(tiny_context *context, int index) {
  switch (index) {
    case 0:
      return context->arena + 44;
    default:
      return NULL;
  }
}

size_t tiny_input_bytes(int index) {
  switch (index) {
    case 0:
      return 24;
    default:
      return 0;
  }
}

const void *tiny_output(const tiny_context *context, int index) {
  switch (index) {
    case 0:
      return context->arena + 0;
    default:
      return NULL;
  }
}

size_t tiny_output_bytes(int index) {
  switch (index) {
    case 0:
      return 2;
    default:
      return 0;
  }
}

tm_status tiny_run(tiny_context *context) {
  uint8_t *const arena = context->arena;
  tm_status status;
  if (context->arena == NULL) {
    return TM_NOT_READY;
  }

  /* 0 Conv2D 'conv / 1': int8[1x3x4x2](s=0.5, z=3), int8[1x3x3x2](s=0.1, z=0), int32[1] -> int8[1x3x4x1](s=0.25, z=-8) */
  {
    const tm_rows v0 = {arena + 44, tiny_w0, 8, 3, 3};
    const tm_rows v1 = {arena + 36, NULL, 4, 3, 3};
    static const tm_part part = {0, 3, 0, 1};
    status = tm_conv2d_pairs_s8_16_4_7_0_1(&tiny_p0, &v0, tiny_w1, NULL, &v1, &part, arena + 0);
    if (status != TM_OK) {
      return status;
    }
  }
  TM_STEP_DONE(0);

  /* 1 FullyConnected 'dense': int8[1x12](s=0.25, z=-8), int8[2x12](s=0.1, z=0) -> int8[1x2](s=0.125, z=0) */
  {
    status = tm_dense_pairs_s8_16_4_7_1_0(&tiny_p1, (const int8_t *)(void *)(arena + 36), tiny_w2, NULL, (int8_t *)(void *)(arena + 0), NULL);
    if (status != TM_OK) {
      return status;
    }
  }
  TM_STEP_DONE(1);

  /* 2 AssignVariable 'keep': int8[1x2](s=0.125, z=0), int8[1x2](s=0.125, z=0) -> */
  {
    status = tm_copy_b8(&tiny_p2, (const int8_t *)(void *)(arena + 0), (int8_t *)(void *)((uint8_t *)context->state + 0), NULL);
    if (status != TM_OK) {
      return status;
    }
  }
  TM_STEP_DONE(2);
  return TM_OK;
}
