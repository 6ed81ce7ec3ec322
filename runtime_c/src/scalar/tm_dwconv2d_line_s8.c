/* Depthwise convolution on cores without SIMD: some neighbouring outputs of a row are summed
 * together, channel by channel, so that they share their weights and columns.
 *
 * Compiled once for each TM_KERNEL_H and TM_KERNEL_W (at most 7), TM_STRIDE (of columns, at most
 * 2), TM_OUTS (outputs summed together, at most 6), TM_SHIFT (the common right
 * shift of the rescaling), TM_SIGNED (records have a correction of negative sums) and TM_CLAMPED
 * (the clamp is narrower than int8).
 *
 * Weights are the layout "lines": int16, for each channel its weights, scaled by a power of two,
 * and one more if they are odd in number, then as int32 {bias, multiplier, offset[, correction]}.
 * y = (high32((bias + sum) * multiplier) + offset - (bias + sum < 0 ? correction : 0)) >> shift.
 * No scratch. */
#include <stddef.h>

#include "tm_conv2d.h"
#include "tm_pairs.h"

#define TM_LINE_COLUMNS ((TM_OUTS - 1) * TM_STRIDE + TM_KERNEL_W)
#define TM_LINE_WORDS ((TM_KERNEL_H * TM_KERNEL_W + 1) / 2)
#define TM_LINE_RECORD (TM_SIGNED ? 4 : 3) /* with the bias */

static inline int8_t TM_INSTANCE(tm_line_scale)(const tm_conv2d_s8_params *p, int32_t acc,
                                                int32_t multiplier, int32_t offset,
                                                int32_t correction) {
  int32_t y = (int32_t)((uint32_t)tm_high32(acc, multiplier) + (uint32_t)offset);
#if TM_SIGNED
  y -= correction & (acc >> 31);
#else
  (void)correction;
#endif
#if TM_CLAMPED
  return (int8_t)tm_clamp(y >> TM_SHIFT, p->lo, p->hi);
#elif defined(TM_PAIRS_ASM)
  (void)p;
  __asm__("ssat %0, #8, %0, asr %1" : "+r"(y) : "i"(TM_SHIFT));
  return (int8_t)y;
#else
  (void)p;
  return (int8_t)tm_clamp(y >> TM_SHIFT, -128, 127);
#endif
}

/* Channels [c, end) of `count` outputs, their columns one after another in the map
 * (inside: `row` is the first, rows `row_bytes` apart) or wherever `columns` says. */
static TM_PAIRS_INLINE void TM_INSTANCE(tm_line_block)(const tm_conv2d_s8_params *p,
                                                       const int32_t *stream, int inside,
                                                       const int8_t *row, int32_t row_bytes,
                                                       const int8_t *const *columns, int8_t *to,
                                                       int32_t count, int32_t c, int32_t end) {
  const int16_t *exceptions = p->exceptions;
  const int32_t step = p->in_c, step3 = 3 * p->in_c, out_step = p->out_c;
  while (exceptions != NULL && *exceptions < c) {
    ++exceptions;
  }
  for (; c < end; ++c) {
    const int16_t *w = (const int16_t *)(const void *)stream;
    const int8_t *const *column = columns;
    const int8_t *line = inside ? row + c : NULL;
    int32_t s0 = stream[TM_LINE_WORDS];
    int32_t s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0;
    for (int32_t ky = TM_KERNEL_H; ky != 0; --ky) {
      const int8_t *from = line;
#define TM_LINE_WEIGHT(k) w[(k) >= 0 && (k) < TM_KERNEL_W ? (k) : 0]
#define TM_LINE_ADD(i, j, sum)                                                          \
  if (TM_OUTS > (j) && (i) >= (j) * TM_STRIDE && (i) < (j) * TM_STRIDE + TM_KERNEL_W) { \
    sum += x * TM_LINE_WEIGHT((i) - (j) * TM_STRIDE);                                   \
  }
#define TM_LINE_COLUMN(i)                               \
  if ((i) < TM_LINE_COLUMNS) {                          \
    const int32_t x = !inside          ? column[i][c]   \
                      : ((i) & 3) == 0 ? from[0]        \
                      : ((i) & 3) == 1 ? from[step]     \
                      : ((i) & 3) == 2 ? from[2 * step] \
                                       : from[step3];   \
    if (inside && ((i) & 3) == 3) {                     \
      from += 4 * step;                                 \
    }                                                   \
    TM_LINE_ADD(i, 0, s0)                               \
    TM_LINE_ADD(i, 1, s1)                               \
    TM_LINE_ADD(i, 2, s2)                               \
    TM_LINE_ADD(i, 3, s3)                               \
    TM_LINE_ADD(i, 4, s4)                               \
    TM_LINE_ADD(i, 5, s5)                               \
  }
      TM_LINE_COLUMN(0)
      TM_LINE_COLUMN(1)
      TM_LINE_COLUMN(2)
      TM_LINE_COLUMN(3)
      TM_LINE_COLUMN(4)
      TM_LINE_COLUMN(5)
      TM_LINE_COLUMN(6)
      TM_LINE_COLUMN(7)
      TM_LINE_COLUMN(8)
      TM_LINE_COLUMN(9)
      TM_LINE_COLUMN(10)
      TM_LINE_COLUMN(11)
      TM_LINE_COLUMN(12)
      TM_LINE_COLUMN(13)
      TM_LINE_COLUMN(14)
      TM_LINE_COLUMN(15)
      TM_LINE_COLUMN(16)
#undef TM_LINE_WEIGHT
#undef TM_LINE_ADD
#undef TM_LINE_COLUMN
      w += TM_KERNEL_W;
      column = inside ? NULL : column + TM_LINE_COLUMNS;
      line = inside ? line + row_bytes : NULL;
    }
    int8_t *y = to + c;
    const int32_t multiplier = stream[TM_LINE_WORDS + 1], offset = stream[TM_LINE_WORDS + 2];
    const int32_t correction = TM_SIGNED ? stream[TM_LINE_WORDS + TM_LINE_RECORD - 1] : 0;
    if (exceptions != NULL && *exceptions == c) {
      const int32_t sums[6] = {s0, s1, s2, s3, s4, s5};
      for (int32_t j = 0; j < count; ++j) {
        const int32_t q = tm_rescale(sums[j], p->multiplier, p->shift, p->scale, c);
        *y = (int8_t)tm_clamp(q + p->out_zero, p->lo, p->hi);
        y += out_step;
      }
      ++exceptions;
    } else {
#define TM_LINE_OUT(j, sum)                                                  \
  if (TM_OUTS > (j)) {                                                       \
    *y = TM_INSTANCE(tm_line_scale)(p, sum, multiplier, offset, correction); \
    y += out_step;                                                           \
  }
      if (inside || count == TM_OUTS) {
        TM_LINE_OUT(0, s0)
        TM_LINE_OUT(1, s1)
        TM_LINE_OUT(2, s2)
        TM_LINE_OUT(3, s3)
        TM_LINE_OUT(4, s4)
        TM_LINE_OUT(5, s5)
      } else {
        /* fewer than all */
        TM_LINE_OUT(0, s0)
        if (count > 1) {
          TM_LINE_OUT(1, s1)
        }
        if (count > 2) {
          TM_LINE_OUT(2, s2)
        }
        if (count > 3) {
          TM_LINE_OUT(3, s3)
        }
        if (count > 4) {
          TM_LINE_OUT(4, s4)
        }
      }
#undef TM_LINE_OUT
    }
    stream += TM_LINE_WORDS + TM_LINE_RECORD;
  }
}

static TM_PAIRS_NOINLINE void TM_INSTANCE(tm_line_edge)(const tm_conv2d_s8_params *p,
                                                        const int32_t *stream,
                                                        const int8_t *const *columns, int8_t *to,
                                                        int32_t count, int32_t c, int32_t end) {
  TM_INSTANCE(tm_line_block)(p, stream, 0, NULL, 0, columns, to, count, c, end);
}

static TM_PAIRS_NOINLINE void TM_INSTANCE(tm_line_inside)(const tm_conv2d_s8_params *p,
                                                          const int32_t *stream, const int8_t *row,
                                                          int32_t row_bytes, int8_t *to, int32_t c,
                                                          int32_t end) {
  TM_INSTANCE(tm_line_block)(p, stream, 1, row, row_bytes, NULL, to, TM_OUTS, c, end);
}

static tm_status TM_INSTANCE(tm_dwconv2d_line_s8)(const tm_conv2d_s8_params *p, const tm_rows *in,
                                                  const int32_t *weights, const int32_t *bias,
                                                  const tm_rows *out, const tm_part *part,
                                                  void *scratch) {
  const int32_t *stream = weights + part->channel0 * (TM_LINE_WORDS + TM_LINE_RECORD);
  const int32_t ring = in->ring != in->rows;
  (void)bias;
  (void)scratch;
  for (int32_t oy = part->row0; oy < part->row1; ++oy) {
    const int32_t iy = oy * p->stride_h - p->pad_top;
    const int32_t span = (TM_KERNEL_H - 1) * p->dilation_h;
    int32_t rows_inside = iy >= 0 && iy + span < in->rows;
    int32_t slot = iy;
    if (ring && rows_inside) {
      slot = iy % in->ring;
      rows_inside = slot + span < in->ring;
    }
    int8_t *const y = (int8_t *)tm_row_out(out, oy);
    for (int32_t ox = 0; ox < p->out_w; ox += TM_OUTS) {
      const int32_t ix = ox * TM_STRIDE - p->pad_left;
      const int32_t count = p->out_w - ox < TM_OUTS ? p->out_w - ox : TM_OUTS;
      if (rows_inside && count == TM_OUTS && ix >= 0 && ix + TM_LINE_COLUMNS <= p->in_w) {
        const int8_t *row = (const int8_t *)in->base + slot * in->row_bytes + ix * p->in_c;
        TM_INSTANCE(tm_line_inside)
        (p, stream, row, p->dilation_h * in->row_bytes, y + ox * p->out_c, part->channel0,
         part->channel1);
      } else {
        const int8_t *columns[TM_KERNEL_H * TM_LINE_COLUMNS];
        const int8_t **column = columns;
        for (int32_t ky = 0; ky < TM_KERNEL_H; ++ky) {
          const int8_t *row = (const int8_t *)tm_row(in, iy + ky * p->dilation_h);
          for (int32_t i = ix; i < ix + TM_LINE_COLUMNS; ++i) {
            /* columns beyond the last output's are read too: from anywhere */
            *column++ = i >= 0 && i < p->in_w ? row + i * p->in_c
                        : in->pad != NULL     ? (const int8_t *)in->pad
                                              : row;
          }
        }
        TM_INSTANCE(tm_line_edge)
        (p, stream, columns, y + ox * p->out_c, count, part->channel0, part->channel1);
      }
    }
  }
  return TM_OK;
}

#undef TM_LINE_COLUMNS
#undef TM_LINE_WORDS
#undef TM_LINE_RECORD
