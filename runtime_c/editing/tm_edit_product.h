/* Sums over the windows of pixels, or over rows: products with a packed matrix. */
#ifndef TM_EDIT_PRODUCT_H
#define TM_EDIT_PRODUCT_H

#include "tm_edit_inner.h"

/* One pixel or row to compute: the top left of its window, where it goes, what is added. */
typedef struct {
  const float *in;
  float *out;
  const float *residual, *bias; /* or NULL */
} tm_edit_pixel;

typedef struct {
  int32_t taps;
  const int64_t *offsets;  /* of the taps from the top left of a window */
  int32_t inputs, outputs; /* channels of one group */
  int32_t groups;
  tm_edit_activation activation;
  float leak;
  const float *weights; /* group after group as packed by tm_edit_pack */
} tm_edit_product;

/* Weights are packed [block of TM_COLUMNS outputs][slice of TM_SLICE inputs][tap][input of the
   slice][TM_COLUMNS]; the last slice is as short as it is, the last block is filled up with
   zeros. */
#define TM_SLICE 16
void tm_edit_pack(const float *outputs_taps_inputs, int32_t outputs, int32_t taps, int32_t inputs,
                  float *packed);

TM_INLINE int32_t tm_edit_product_blocks(const tm_edit_product *p) {
  return p->groups * tm_parts(p->outputs, TM_COLUMNS);
}

/* Computes one block of output channels of all `count` pixels. */
void tm_edit_multiply(const tm_edit_product *p, const tm_edit_pixel *pixels, int32_t count,
                      int32_t block);

#endif
