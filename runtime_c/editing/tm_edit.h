/* Kernels of sparse editing: convolutions, products, attention and elementwise functions that
   compute listed tiles or rows of a map and leave the rest of it as it is.

   Maps are float32, NHWC, images one after the other. All functions use OpenMP inside where the
   compiler has it. Nothing is allocated by the caller for them; outputs never overlap inputs, but
   a residual may be the output. Tiles of one call do not overlap each other. */
#ifndef TM_EDIT_H
#define TM_EDIT_H

#include <stddef.h>
#include <stdint.h>

/* Each thread that calls keeps the memory that the largest of its calls needed; this frees it. */
void tm_edit_release(void);
/* How many calls, of any thread, there was no memory for since this was last asked; they did
   nothing. */
int32_t tm_edit_failures(void);

/* Index in the batch; top left output pixel of a tile, which may be cut by the map's edge. */
typedef struct {
  int32_t image, y, x;
} tm_edit_tile;

typedef enum {
  TM_EDIT_NONE,
  TM_EDIT_RELU,
  TM_EDIT_LEAKY,
  TM_EDIT_SILU,
  TM_EDIT_TANH,
  TM_EDIT_SIGMOID
} tm_edit_activation;

/* output = out_activation(conv(in_activation(input * in_scale + in_shift)) + bias + residual).
   Outside the map the convolution reads zeros, after scale, shift and activation. */
typedef struct {
  int32_t in_height, in_width, in_channels, in_stride; /* floats between pixels of the input map */
  int32_t out_height, out_width, out_channels, out_stride;
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups;
  int32_t upsample; /* nearest upsampling by this factor before the window, 1: none */
  tm_edit_activation in_activation, out_activation;
  float leak;
  const float *in_scale, *in_shift; /* per image and input channel (dense); NULL: none */
  const float *weights;             /* as packed by tm_edit_pack_conv */
  const float *bias;                /* or NULL */
  /* What follows is 0 in the plain case. */
  int32_t bias_image;      /* floats between the biases of two images (time embedding); 0: shared */
  int32_t residual_stride; /* floats between pixels of the residual; 0: out_stride */
  int64_t out_row;         /* floats between rows of the output; 0: out_width * out_stride. A
                              transposed convolution writes every second pixel of every second row */
  int64_t out_image;       /* floats between images of the output; 0: out_height * out_row */
} tm_edit_conv;

size_t tm_edit_conv_packed(const tm_edit_conv *c); /* floats that the packed weights take */
void tm_edit_pack_conv(const tm_edit_conv *c, const float *ohwi, float *packed);

/* Computes tiles of tile_h x tile_w output pixels. `residual` is dense in rows and images
   (out_width * residual_stride floats a row), or NULL. */
void tm_edit_conv_tiles(const tm_edit_conv *c, const float *input, const float *residual,
                        float *output, const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                        int32_t tile_w);

/* Computes the whole map of `images` images. */
void tm_edit_conv_dense(const tm_edit_conv *c, const float *input, const float *residual,
                        float *output, int32_t images);

/* Time of one tile of tile_h x tile_w pixels in units of its own; the engine takes for each layer
   and mask the tile size, of 4, 6, 8 and 16, with the least sum. */
double tm_edit_conv_cost(const tm_edit_conv *c, int32_t tile_h, int32_t tile_w);
/* Time of the whole map of one image by tm_edit_conv_dense in the same units. */
double tm_edit_conv_dense_cost(const tm_edit_conv *c);

/* Rows times a matrix: 1x1 convolutions of stride 1, queries, keys, values, linear layers.
   output[r] = out_activation(in_activation(input[r] * in_scale + in_shift) W + bias + residual[r]).
 */
typedef struct {
  int32_t in_channels, in_stride, out_channels, out_stride;
  int32_t residual_stride; /* 0: out_stride */
  int32_t image_rows;      /* rows of one image: row / image_rows chooses scale, shift and bias */
  tm_edit_activation in_activation, out_activation;
  float leak;
  const float *in_scale, *in_shift; /* per image and input channel; NULL: none */
  const float *weights;             /* as packed by tm_edit_pack_linear */
  const float *bias;                /* or NULL */
  int32_t bias_image;               /* floats between the biases of two images; 0: shared */
} tm_edit_linear;

size_t tm_edit_linear_packed(const tm_edit_linear *l);
void tm_edit_pack_linear(const tm_edit_linear *l, const float *oi, float *packed);
/* `rows` NULL: rows 0 .. count - 1. */
void tm_edit_linear_rows(const tm_edit_linear *l, const float *input, const float *residual,
                         float *output, const int32_t *rows, int32_t count);

/* output[q] = sum over k of softmax_k(scale * queries[q] . keys[k]) values[k], head by head.
   A row holds the heads one after the other. Query row r belongs to image r / queries and sees the
   key rows of its image. */
typedef struct {
  int32_t heads, head_channels, value_channels; /* channels of one head */
  int32_t queries, keys;                        /* rows of one image */
  int32_t query_stride, key_stride, value_stride, out_stride;
  float scale;
} tm_edit_attend;

/* `rows` NULL: rows 0 .. count - 1. */
void tm_edit_attention(const tm_edit_attend *a, const float *queries, const float *keys,
                       const float *values, float *output, const int32_t *rows, int32_t count);

/* An operand of an elementwise function: floats between images, rows, pixels and channels, 0 where
   it is broadcast. */
typedef struct {
  const float *data;
  int64_t image, row, pixel;
  int32_t channel;
} tm_edit_operand;

typedef enum {
  TM_EDIT_ADD,
  TM_EDIT_SUB,
  TM_EDIT_MUL,
  TM_EDIT_DIV,
  TM_EDIT_MIN,
  TM_EDIT_MAX
} tm_edit_function;

typedef struct {
  int32_t height, width, channels;
  tm_edit_activation activation;
  float leak;
} tm_edit_shape;

/* Each on tiles of tile_h x tile_w pixels of output; SiLU is vectorised.
   affine: activation(x * scale + shift), scale and shift dense per image and channel or both NULL.
   modulate: activation((x * scale + shift) * (1 + gamma) + beta), SPADE.
   binary: activation(function(a, b)). */
void tm_edit_affine_tiles(const tm_edit_shape *s, tm_edit_operand x, const float *scale,
                          const float *shift, float *output, int32_t out_stride,
                          const tm_edit_tile *tiles, int32_t count, int32_t tile_h, int32_t tile_w);
void tm_edit_modulate_tiles(const tm_edit_shape *s, tm_edit_operand x, const float *scale,
                            const float *shift, tm_edit_operand gamma, tm_edit_operand beta,
                            float *output, int32_t out_stride, const tm_edit_tile *tiles,
                            int32_t count, int32_t tile_h, int32_t tile_w);
void tm_edit_binary_tiles(const tm_edit_shape *s, tm_edit_function function, tm_edit_operand a,
                          tm_edit_operand b, float *output, int32_t out_stride,
                          const tm_edit_tile *tiles, int32_t count, int32_t tile_h, int32_t tile_w);

/* The undo log: tile i lies at saved + i * tile_h * tile_w * channels, whether it is cut or not. */
void tm_edit_save_tiles(const tm_edit_shape *s, const float *map, int32_t stride, float *saved,
                        const tm_edit_tile *tiles, int32_t count, int32_t tile_h, int32_t tile_w);
void tm_edit_restore_tiles(const tm_edit_shape *s, float *map, int32_t stride, const float *saved,
                           const tm_edit_tile *tiles, int32_t count, int32_t tile_h,
                           int32_t tile_w);

/* Adds to sum and square [image][channel] what the tiles hold now, less what `saved` (may be NULL)
   says that they held before. */
void tm_edit_sum_tiles(const tm_edit_shape *s, const float *map, int32_t stride, const float *saved,
                       double *sum, double *square, const tm_edit_tile *tiles, int32_t count,
                       int32_t tile_h, int32_t tile_w);

#endif
