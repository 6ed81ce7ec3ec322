/* What the two ways of a convolution share. */
#ifndef TM_EDIT_CONV_H
#define TM_EDIT_CONV_H

#include "tm_edit_product.h"

/* Pixels [y, y + height) x [x, x + width) of an image's output. */
typedef struct {
  int32_t image, y, x, height, width;
} tm_edit_patch;

/* Cuts tiles into patches of at most `height` x `width` pixels inside the map, row by row. Returns
   their number; `patches` may be NULL. */
int64_t tm_edit_patches(const tm_edit_conv *c, const tm_edit_tile *tiles, int32_t count,
                        int32_t tile_h, int32_t tile_w, int32_t height, int32_t width,
                        tm_edit_patch *patches);

/* Input [y, y + rows) x [x, x + columns), every step-th row and column of the (upsampled) map, in
   channels [first, first + channels), scaled, shifted and activated, zeros outside the map. */
typedef struct {
  int32_t image, y, x, rows, columns, row_step, column_step, first, channels;
} tm_edit_window;

/* Gathers a window: pixel (i, j) goes to block + i * row + j * stride. Writes whole vectors, the
   lanes after the last channel anyhow: `stride` has room for them. */
void tm_edit_gather(const tm_edit_conv *c, const float *input, const tm_edit_window *window,
                    float *block, int64_t stride, int64_t row);

/* Whether F(4x4, 3x3) can compute the convolution. */
int tm_edit_winograd_serves(const tm_edit_conv *c);

/* Computes patches of at most 4x4 pixels by F(4x4, 3x3). */
void tm_edit_winograd(const tm_edit_conv *c, const float *input, const float *residual,
                      float *output, const tm_edit_patch *patches, int32_t count);

TM_INLINE int64_t tm_out_row(const tm_edit_conv *c) {
  return c->out_row ? c->out_row : (int64_t)c->out_width * c->out_stride;
}
TM_INLINE int64_t tm_out_image(const tm_edit_conv *c) {
  return c->out_image ? c->out_image : c->out_height * tm_out_row(c);
}
TM_INLINE int32_t tm_residual_stride(const tm_edit_conv *c) {
  return c->residual_stride ? c->residual_stride : c->out_stride;
}
TM_INLINE float *tm_out_pixel(const tm_edit_conv *c, float *output, int32_t image, int32_t y,
                              int32_t x) {
  return output + image * tm_out_image(c) + y * tm_out_row(c) + (int64_t)x * c->out_stride;
}
TM_INLINE const float *tm_residual_pixel(const tm_edit_conv *c, const float *residual,
                                         int32_t image, int32_t y, int32_t x) {
  const int64_t pixel = ((int64_t)image * c->out_height + y) * c->out_width + x;
  return residual ? residual + pixel * tm_residual_stride(c) : NULL;
}
TM_INLINE const float *tm_bias(const float *bias, int32_t bias_image, int32_t image) {
  return bias ? bias + (int64_t)image * bias_image : NULL;
}
TM_INLINE int32_t tm_group_blocks(const tm_edit_conv *c) {
  return tm_parts(c->out_channels / c->groups, TM_COLUMNS);
}
/* Floats of one packed block of TM_COLUMNS output channels. */
TM_INLINE int64_t tm_block_floats(const tm_edit_conv *c) {
  return (int64_t)c->kernel_h * c->kernel_w * (c->in_channels / c->groups) * TM_COLUMNS;
}

#endif
