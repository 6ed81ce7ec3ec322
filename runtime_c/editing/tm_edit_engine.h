/* Runs a network of layers on the pixels that an edit reaches, and on all of them once before.

   A program is a table that the compiler emits. Every value has a map that outlives a run; a run
   overwrites active tiles in place and keeps what they held, so that the edit can be undone.
   Active pixels go from value to value by each layer's window. */
#ifndef TM_EDIT_ENGINE_H
#define TM_EDIT_ENGINE_H

#include "tm_edit.h"

enum { TM_EDIT_KEPT, TM_EDIT_SCRATCH, TM_EDIT_CONSTANT };

/* Memory of one or several values: kept between runs, shared scratch computed whole in each run, or
   a constant of the weights; `place` counts floats in the kept block, the scratch block or the
   weights. */
typedef struct {
  int32_t kind;
  int64_t place, floats;
} tm_edit_store;

/* `offset`: channels of the store that lie before this value's; `shared`: one map for all images.
 */
typedef struct {
  int32_t height, width, channels, store, stride, offset, shared, mask;
} tm_edit_value;

/* `pyramid`: in fast mode a scaled image of the input's mask. */
typedef struct {
  int32_t height, width, pyramid;
} tm_edit_mask;

enum { TM_EDIT_POINT = -1, TM_EDIT_WHOLE = -2 };

/* Pixels of `target` that read active pixels of `source` become active; rows and columns are axes,
   or TM_EDIT_POINT, or TM_EDIT_WHOLE for a layer that reads all. In the order of execution. */
typedef struct {
  int32_t target, source, rows, columns;
} tm_edit_spread;

/* For each of `count` places along an axis the `taps` places that it reads, -1 for none, and their
   weights where it mixes them. */
typedef struct {
  int32_t count, taps;
  const int32_t *places;
  const float *weights;
} tm_edit_axis;

/* A convolution over output pixels (y + i * step, x + j * step) of a transposed one; the only phase
   of an ordinary one. */
typedef struct {
  int32_t kernel_h, kernel_w, pad_top, pad_left, dilation_h, dilation_w;
  int32_t out_height, out_width, y, x;
  int64_t weights; /* OHWI */
} tm_edit_phase;

/* Scale and shift of channels: of groups (as many as `groups`) from their mean and variance, or
   constants where groups is 0. `place`: in the blocks of scales and sums, per image. */
typedef struct {
  int32_t groups, channels, first_part, parts;
  float epsilon;
  int64_t scale, shift;
  int64_t place;
  const char *name;
} tm_edit_norm;

/* A value that holds channels of a normalised map, and where these begin. */
typedef struct {
  int32_t value, channel;
} tm_edit_part;

typedef enum {
  TM_EDIT_STEP_CONV,
  TM_EDIT_STEP_LINEAR,
  TM_EDIT_STEP_ATTENTION,
  TM_EDIT_STEP_AFFINE,
  TM_EDIT_STEP_MODULATE,
  TM_EDIT_STEP_BINARY,
  TM_EDIT_STEP_UNARY,
  TM_EDIT_STEP_TAKE,
  TM_EDIT_STEP_MIX,
  TM_EDIT_STEP_MAX_POOL,
  TM_EDIT_STEP_MEAN_POOL,
  TM_EDIT_STEP_SHUFFLE,
  TM_EDIT_STEP_ROW_NORM,
  TM_EDIT_STEP_SOFTMAX,
  TM_EDIT_STEP_NORM
} tm_edit_kind;

typedef struct {
  tm_edit_kind kind;
  int32_t function;
  int32_t output, input, second, third, residual, norm; /* values, and a norm; -1: none */
  tm_edit_activation in_activation, out_activation;
  float alpha, beta;
  int32_t first_phase, phases, step_h, step_w;
  int32_t stride_h, stride_w, groups, upsample;
  int64_t bias; /* in the weights; -1: none */
  int32_t bias_value;
  int32_t rows, columns; /* axes */
  int32_t heads, block;
  int64_t macs; /* of one output pixel */
  const char *name;
} tm_edit_step;

typedef struct {
  int32_t images, input;
  int32_t stores_count, values_count, masks_count, spreads_count, steps_count, norms_count;
  int32_t phases_count;
  int64_t kept, scratch, norm_channels; /* floats of the blocks; channels of all norms */
  const tm_edit_store *stores;
  const tm_edit_value *values;
  const tm_edit_mask *masks;
  const tm_edit_spread *spreads;
  const tm_edit_axis *axes;
  const tm_edit_phase *phases;
  const tm_edit_norm *norms;
  const tm_edit_part *parts;
  const tm_edit_step *steps;
} tm_edit_program;

/* An array of any strides, in floats. */
typedef struct {
  const float *data;
  int64_t image, row, pixel, channel;
} tm_edit_source;

typedef struct {
  int32_t fast;     /* masks scaled from the input's, not propagated */
  int32_t refresh;  /* statistics of normalisations follow the edit */
  int32_t dilation; /* pixels by which the input's mask grows */
  float threshold;  /* a pixel whose values differ by no more is not edited */
  float break_even; /* share of a layer's dense time from which on it is computed whole */
} tm_edit_options;

typedef struct {
  double active; /* share of the input's pixels */
  double macs, dense_macs;
  double drift; /* greatest change of a mean, in deviations, or of a deviation, relative */
  int32_t drift_norm;
  int32_t layers, dense_layers; /* convolutions and products that ran, and those computed whole */
  int64_t log_bytes;
} tm_edit_report;

enum { TM_EDIT_OK, TM_EDIT_NO_MEMORY, TM_EDIT_NOT_FINITE, TM_EDIT_NOTHING };

typedef struct tm_edit_context tm_edit_context;

/* The table of the model; stands in the file that the compiler emits. */
const tm_edit_program *tm_edit_model(void);

tm_edit_context *tm_edit_open(const tm_edit_program *program, const float *weights);
void tm_edit_close(tm_edit_context *context);
/* The map of a value (its first channel), and the floats between its pixels. */
float *tm_edit_map(tm_edit_context *context, int32_t value);
int32_t tm_edit_stride(tm_edit_context *context, int32_t value);
/* Computes everything from `x` and what the maps of other inputs hold; forgets all edits. */
int32_t tm_edit_precompute(tm_edit_context *context, const tm_edit_source *x);
/* Edits; `mask` [image][y][x] or NULL: where x differs. The state is untouched unless it answers
   TM_EDIT_OK; an edit that runs out of memory on its way is undone. */
int32_t tm_edit_run(tm_edit_context *context, const tm_edit_source *x, const uint8_t *mask,
                    const tm_edit_options *options, tm_edit_report *report);
/* Takes back the last edit. */
int32_t tm_edit_undo(tm_edit_context *context);
/* The active pixels of a value in the last run, [image][y][x]. */
const uint8_t *tm_edit_active(tm_edit_context *context, int32_t value);
/* Scale and shift of a norm, [image][channel]. */
const float *tm_edit_norm_scale(tm_edit_context *context, int32_t norm);
const float *tm_edit_norm_shift(tm_edit_context *context, int32_t norm);
void tm_edit_threads(int32_t threads);

#endif
