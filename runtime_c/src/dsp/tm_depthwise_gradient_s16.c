/* Gradient of the input of a depthwise convolution without dilation, on cores with SMLAD. The
 * gradients of two channels become planes of scratch between columns of zeros; places whose columns
 * are of one phase (modulo the stride) see the same taps, in words, and are summed four at a time.
 *
 * Compiled once for each TM_TAPS, the taps of a line that a place sees, and TM_STRIDE, that of the
 * columns.
 *
 * Scratch: two planes of all lines of h, the words of the taps of a channel, 16 bytes a row. */
#include "tm_conv_input_gradient.h"
#include "tm_mantissas.h"

/* Words of a line of taps: for a place at the low half of a word, or at the high one. */
#define TM_LINE_WORDS ((TM_TAPS + 2) / 2)

#ifndef TM_DEPTHWISE_GRADIENT_ONCE
#define TM_DEPTHWISE_GRADIENT_ONCE

/* What a row of the output sees: `lines` lines of taps. */
typedef struct {
  int32_t lines;
  int32_t
      plane; /* halves to the line of a plane that the first of them meets; the next are before */
  int32_t taps; /* halves to the first */
  int32_t out;  /* bytes to the row */
} tm_depthwise_row;

static inline int32_t tm_depthwise_least(int32_t a, int32_t b) {
  return a < b ? a : b;
}

/* Halves of a line of a plane. */
static inline int32_t tm_depthwise_pitch(const tm_conv_input_gradient_s16_params *p, int32_t taps) {
  const int32_t across = (p->in_w + p->stride_w - 1) / p->stride_w;
  const int32_t read =
      (p->pad_left + p->stride_w - 1) / p->stride_w + (across + 3) / 4 * 4 + (taps + 2) / 2 * 2;
  const int32_t held = taps - 1 + p->out_w;
  return ((read > held ? read : held) + 1) / 2 * 2;
}

/* What row y sees of a plane that begins with line `top` of `height`; halves of a line of taps. */
static TM_NOINLINE tm_depthwise_row tm_depthwise_seen(const tm_conv_input_gradient_s16_params *p,
                                                      const tm_rows *out, int32_t y, int32_t top,
                                                      int32_t height, int32_t pitch,
                                                      int32_t halves) {
  const int32_t reach = y + p->pad_top;
  const int32_t last = reach / p->stride_h;
  const int32_t skipped = last >= height ? last - height + 1 : 0;
  const int32_t first = reach % p->stride_h + skipped * p->stride_h;
  const int32_t reached = p->kernel_h > first ? (p->kernel_h - 1 - first) / p->stride_h + 1 : 0;
  tm_depthwise_row row;
  row.lines = tm_depthwise_least(reached, last - skipped + 1);
  row.plane = row.lines > 0 ? (last - skipped - top) * pitch : 0;
  row.taps = row.lines > 0 ? first * halves : 0;
  row.out = (int32_t)((uint8_t *)tm_row_out(out, y) - out->base);
  return row;
}

/* Lines of two channels, or one: `step` from pixel to pixel. */
static TM_INLINE void tm_depthwise_fill(const int16_t *h, int32_t step, int32_t count, int32_t both,
                                        int16_t *first, int16_t *second) {
  int16_t *const end = first + count;
  if (!both) {
    for (; first != end; h += step) {
      *first++ = *h;
    }
    return;
  }
  while (first != end) {
    const uint32_t pair = tm_mantissas_load(h);
    h += step;
    *first++ = (int16_t)(pair & 0xFFFFu);
    *second++ = (int16_t)(pair >> 16);
  }
}

#endif

/* The words of the taps of a channel: for each line and phase those of places at low, then those
 * of places at high halves. What no tap comes to stays 0. */
static TM_NOINLINE void TM_INSTANCE(tm_depthwise_taps)(const tm_conv_input_gradient_s16_params *p,
                                                       const int8_t *w, int16_t *to) {
  for (int32_t line = p->kernel_h * TM_STRIDE; line > 0;) {
    for (int32_t phase = 0; phase < TM_STRIDE; ++phase, --line) {
      /* the last tap sees the first column */
      int16_t *low = to + TM_TAPS - 1;
      for (int32_t kx = phase; kx < p->kernel_w; kx += TM_STRIDE) {
        const int16_t tap = w[kx];
        low[0] = tap;
        low[2 * TM_LINE_WORDS + 1] = tap;
        --low;
      }
      to += 4 * TM_LINE_WORDS;
    }
    w += p->kernel_w;
  }
}

#define TM_LINE_WORD(k)                                                        \
  if (TM_LINE_WORDS > (k)) {                                                   \
    const uint32_t next = tm_mantissas_load(h + 2 * (k) + 2);                  \
    const uint32_t low = tm_mantissas_load(taps + 2 * (k));                    \
    const uint32_t high = tm_mantissas_load(taps + 2 * (TM_LINE_WORDS + (k))); \
    a0 = tm_smlad(seen, low, a0);                                              \
    a1 = tm_smlad(seen, high, a1);                                             \
    a2 = tm_smlad(next, low, a2);                                              \
    a3 = tm_smlad(next, high, a3);                                             \
    seen = next;                                                               \
  }

/* Four places, of which the first `count` are written, `step` apart. */
static TM_INLINE void TM_INSTANCE(tm_depthwise_four)(const tm_mantissas *how, const int16_t *h,
                                                     int32_t pitch, const int16_t *taps,
                                                     int32_t halves, int32_t lines, int32_t count,
                                                     int32_t step, int16_t *g) {
  uint32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
  for (; lines > 0; --lines) {
    uint32_t seen = tm_mantissas_load(h);
    TM_LINE_WORD(0)
    TM_LINE_WORD(1)
    TM_LINE_WORD(2)
    TM_LINE_WORD(3)
    for (int32_t k = 4; k < TM_LINE_WORDS; ++k) {
      TM_LINE_WORD(k)
    }
    h -= pitch;
    taps += halves;
  }
  a0 = tm_mantissas_pair(how, (int32_t)a0, (int32_t)a1);
  a2 = tm_mantissas_pair(how, (int32_t)a2, (int32_t)a3);
  *g = (int16_t)(a0 & 0xFFFFu);
  if (count >= 4) {
    g += step;
    *g = (int16_t)(a0 >> 16);
    g += step;
    *g = (int16_t)(a2 & 0xFFFFu);
    g += step;
    *g = (int16_t)(a2 >> 16);
  } else {
    if (count > 1) {
      g[step] = (int16_t)(a0 >> 16);
    }
    if (count > 2) {
      g[2 * step] = (int16_t)(a2 & 0xFFFFu);
    }
  }
}

/* Some rows of a channel of the map at g, from its plane. */
static TM_NOINLINE void TM_INSTANCE(tm_depthwise_channel)(
    const tm_conv_input_gradient_s16_params *p, const tm_mantissas *rounding, const int16_t *plane,
    int32_t pitch, const int16_t *taps, const tm_depthwise_row *rows, int32_t count, uint8_t *g) {
  const tm_mantissas how = *rounding;
  const int32_t stride = TM_STRIDE;
  const int32_t halves = 4 * TM_LINE_WORDS * stride * p->stride_h;
  const int32_t step = stride * p->in_c;
  for (int32_t phase = 0; phase < stride; ++phase) {
    const int32_t x = (phase + p->pad_left * (stride - 1)) % stride;
    const int32_t across = (p->in_w - x + stride - 1) / stride;
    const int16_t *from = plane + (x + p->pad_left) / stride;
    uint8_t *const to = g + 2 * x * p->in_c;
    for (const tm_depthwise_row *row = rows; row != rows + count; ++row) {
      const int16_t *h = from + row->plane;
      int16_t *y = (int16_t *)(void *)(to + row->out);
      for (int32_t left = across; left > 0; left -= 4) {
        TM_INSTANCE(tm_depthwise_four)
        (&how, h, pitch, taps + row->taps, halves, row->lines, left, step, y);
        h += 4;
        y += 4 * step;
      }
    }
    taps += 4 * TM_LINE_WORDS;
  }
}

static tm_status TM_INSTANCE(tm_depthwise_gradient_s16)(const tm_conv_input_gradient_s16_params *p,
                                                        const tm_rows *in, const int8_t *weights,
                                                        const tm_rows *out, const tm_part *part,
                                                        void *scratch) {
  const tm_mantissas how = tm_mantissas_of(p->shift, p->limit);
  const int32_t pitch = tm_depthwise_pitch(p, TM_TAPS);
  const int32_t line = 4 * TM_LINE_WORDS * TM_STRIDE;
  const int32_t count = part->row1 - part->row0;
  /* the lines of h that are seen from these rows */
  const int32_t above = part->row0 + p->pad_top - p->kernel_h + p->stride_h;
  const int32_t top = above < 0 ? 0 : above / p->stride_h;
  const int32_t end = tm_depthwise_least((part->row1 - 1 + p->pad_top) / p->stride_h + 1, p->out_h);
  int16_t *const planes = (int16_t *)scratch;
  int16_t *const second = planes + p->out_h * pitch;
  int16_t *const taps = planes + 2 * p->out_h * pitch;
  tm_depthwise_row *const rows = (tm_depthwise_row *)(taps + line * p->kernel_h);
  memset(planes, 0, (size_t)((uint8_t *)rows - (uint8_t *)planes));
  for (int32_t k = 0; k < count; ++k) {
    rows[k] = tm_depthwise_seen(p, out, part->row0 + k, top, p->out_h, pitch, line);
  }
  for (int32_t c = part->channel0; c < part->channel1; c += 2) {
    const int32_t both = c + 1 < part->channel1;
    const int16_t *plane = planes;
    for (int32_t oy = top; oy < end; ++oy) {
      const int32_t at = (oy - top) * pitch + TM_TAPS - 1;
      tm_depthwise_fill((const int16_t *)tm_row(in, oy) + c, p->out_c, p->out_w, both, planes + at,
                        second + at);
    }
    for (int32_t k = 0; k < 1 + both; ++k) {
      TM_INSTANCE(tm_depthwise_taps)
      (p, weights + (c + k) * p->kernel_h * p->kernel_w, taps);
      TM_INSTANCE(tm_depthwise_channel)
      (p, &how, plane, pitch, taps, rows, count, out->base + 2 * (c + k));
      plane = second;
    }
  }
  return TM_OK;
}

#undef TM_LINE_WORD
#undef TM_LINE_WORDS
