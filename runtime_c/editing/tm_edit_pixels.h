/* Layers that move, mix or reshape pixels, on listed tiles. */
#ifndef TM_EDIT_PIXELS_H
#define TM_EDIT_PIXELS_H

#include "tm_edit_engine.h"

typedef enum {
  TM_EDIT_EXP,
  TM_EDIT_LOG,
  TM_EDIT_SQRT,
  TM_EDIT_RECIPROCAL,
  TM_EDIT_ABS,
  TM_EDIT_NEG,
  TM_EDIT_SQUARE,
  TM_EDIT_CLIP,
  TM_EDIT_ELU,
  TM_EDIT_GELU,
  TM_EDIT_GELU_TANH,
  TM_EDIT_SOFTPLUS,
  TM_EDIT_HARD_SIGMOID,
  TM_EDIT_HARD_SWISH,
  TM_EDIT_SWISH
} tm_edit_unary;

typedef struct {
  const tm_edit_step *step;
  const float *input;
  int32_t in_height, in_width, in_channels, in_stride;
  int64_t in_image;
  float *output;
  int32_t out_stride;
  tm_edit_shape shape; /* of the output */
  const tm_edit_axis *rows, *columns;
  const float *scale, *shift; /* of a normalisation of each pixel, or NULL */
} tm_edit_pixels;

void tm_edit_pixels_tiles(const tm_edit_pixels *p, const tm_edit_tile *tiles, int32_t count,
                          int32_t side);

#endif
