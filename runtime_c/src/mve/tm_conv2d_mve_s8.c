/* Convolution as a matrix product on cores with MVE, any shape, weights of zero point 0: four
 * channels by two pixels are summed in registers, 16 products an instruction. Kernels of one tap
 * read the input in place, all others patches of two pixels in scratch.
 *
 * Compiled once for each
 *   TM_CHUNKS   16-byte pieces of a patch, 0: any number (less code, more instructions)
 *   TM_FLOAT    the rescaling is by a float
 *   TM_LEFT     some channel's fixed-point rescaling begins with a shift to the left
 *   TM_SIGNED   negative sums are rounded in fixed point (the lower clamp is below the zero point)
 *   TM_CLAMPED  the clamp is narrower than int8
 *
 * Weights are the layout "mve_gemm": for each four channels of a group their biases, for each
 * piece of a patch the 16 weights of each channel, the four scales (float), or the multipliers,
 * negated right shifts and, with TM_LEFT, left shifts. Weights beyond the patch and channels
 * beyond the group are 0.
 *
 * Where an odd number of columns makes pairs of pixels cross rows, two rows are written at once:
 * where inputs are read in place, and a row of outputs is shorter than an input pixel and one
 * output pixel, or where groups follow each other, that asks for more of the input than one row
 * at a time would.
 * Scratch: pairs of patches, each a piece longer than whole pieces: one, or as many as take 768
 * bytes; before them, with TM_VARIED, a word for each channel, those of a group filled up to fours.
 * Channels: all.
 *
 * With TM_VARIED the bias is an array in RAM and there are none in the stream. */
#include "tm_conv2d.h"
#include "tm_mve.h"
#include "tm_rescale.h"

#ifndef TM_VARIED
#define TM_VARIED 0
#endif

#ifndef TM_CONV2D_MVE_ONCE
#define TM_CONV2D_MVE_ONCE

enum { TM_MVE_PATCHES = 768 }; /* bytes of patches that may lie in scratch at once */

/* Pairs of pixels for which whole blocks of four channels are computed. The assembly loads the
 * first six fields at once. */
typedef struct {
  const int32_t *stream;
  int8_t *y0; /* the first pair's outputs and patches */
  const int8_t *x0;
  int8_t *y1;
  const int8_t *x1;
  const int32_t *stop; /* end of the blocks' part of the stream */
  int32_t pairs;       /* at least 1 */
  int32_t x_step;      /* bytes from a pair's patches to the next one's */
  int32_t y_step;      /* bytes from the end of a pair's outputs to the next one's */
  int32_t chunks;
  /* with TM_VARIED: biases of the next block, those of the first one */
  const int32_t *bias, *first_bias;
} tm_mve_pairs;

typedef void tm_mve_blocks(const tm_conv2d_s8_params *p, tm_mve_pairs *job);

typedef struct {
  const tm_conv2d_s8_params *p;
  tm_mve_blocks *blocks;
  const int32_t *stream;
  int32_t words; /* of the stream, in a block of four channels */
  int32_t chunks;
  const int32_t *bias; /* NULL: they are in the stream */
} tm_mve_gemm;

/* All channels of a group, the stream from `stream` on, outputs at y0 and y1, for pairs of
 * pixels; `hop` bytes lie between the outputs of pairs. */
static void tm_mve_gemm_pairs(const tm_mve_gemm *gemm, const int32_t *stream, const int8_t *x0,
                              const int8_t *x1, int32_t x_step, int8_t *y0, int8_t *y1, int32_t hop,
                              int32_t pairs) {
  const int32_t whole = gemm->p->group_out / 4;
  const int32_t rest = gemm->p->group_out % 4;
  const int32_t *bias = gemm->bias;
  tm_mve_pairs job;
  if (bias != NULL) {
    bias += (int32_t)(stream - gemm->stream) / gemm->words * 4;
  }
  job.bias = bias;
  job.first_bias = bias;
  job.chunks = gemm->chunks;
  job.stop = stream + whole * gemm->words;
  job.x_step = x_step;
  job.y_step = hop - 4 * whole;
  if (rest == 0) {
    job.stream = stream;
    job.x0 = x0;
    job.x1 = x1;
    job.y0 = y0;
    job.y1 = y1;
    job.pairs = pairs;
    gemm->blocks(gemm->p, &job);
    return;
  }
  for (; pairs > 0; --pairs) {
    int8_t spare[2][4];
    job.x0 = x0;
    job.x1 = x1;
    if (whole != 0) {
      job.stream = stream;
      job.y0 = y0;
      job.y1 = y1;
      job.pairs = 1;
      gemm->blocks(gemm->p, &job);
      job.x0 = x0;
      job.x1 = x1;
    }
    job.stream = stream + whole * gemm->words;
    job.stop = job.stream + gemm->words;
    job.bias = bias == NULL ? NULL : bias + 4 * whole;
    job.first_bias = job.bias;
    job.y0 = spare[0];
    job.y1 = spare[1];
    job.pairs = 1;
    gemm->blocks(gemm->p, &job);
    job.stop = stream + whole * gemm->words;
    job.bias = bias;
    job.first_bias = bias;
    for (int32_t c = 0; c < rest; ++c) {
      y0[4 * whole + c] = spare[0][c];
      y1[4 * whole + c] = spare[1][c];
    }
    x0 += x_step;
    x1 += x_step;
    y0 += hop;
    y1 += hop;
  }
}

/* `count` pixels of a kernel of one tap in place; their inputs lie `step` bytes apart and no
 * read may reach `end`. */
static void tm_mve_gemm_run(const tm_mve_gemm *gemm, const int8_t *x, int32_t step, int8_t *y,
                            int32_t count, const int8_t *end, int8_t *patch) {
  const tm_conv2d_s8_params *p = gemm->p;
  const int32_t bytes = 16 * gemm->chunks;
  const int32_t groups = p->in_c / p->group_in;
  const int32_t words = (p->group_out + 3) / 4 * gemm->words;
  /* pixels whose pieces, those of the last group too, end in the map */
  const int32_t room = (int32_t)(end - x) - (p->in_c - p->group_in) - bytes;
  int32_t pairs = room < 0 ? 0 : room / step + 1;
  pairs = (pairs < count ? pairs : count) / 2;
  if (groups == 1) {
    if (pairs > 0) {
      tm_mve_gemm_pairs(gemm, gemm->stream, x, x + step, 2 * step, y, y + p->out_c, 2 * p->out_c,
                        pairs);
      x += 2 * pairs * step;
      y += 2 * pairs * p->out_c;
      count -= 2 * pairs;
    }
    pairs = 0;
  }
  while (count > 0) {
    const int32_t second = count > 1 ? step : 0;
    const int32_t second_out = count > 1 ? p->out_c : 0;
    for (int32_t g = 0; g < groups; ++g) {
      const int8_t *x0 = x + g * p->group_in;
      const int8_t *x1 = x0 + second;
      if (pairs <= 0) {
        tm_mve_copy2(patch, x0, patch + bytes, x1, p->group_in);
        x0 = patch;
        x1 = patch + bytes;
      }
      tm_mve_gemm_pairs(gemm, gemm->stream + g * words, x0, x1, 0, y + g * p->group_out,
                        y + second_out + g * p->group_out, 0, 1);
    }
    --pairs;
    x += 2 * step;
    y += 2 * p->out_c;
    count -= 2;
  }
}

/* Writes the patch of the output pixel whose window begins at iy, ix. */
static void tm_mve_patch(const tm_conv2d_s8_params *p, const tm_rows *in, int32_t iy, int32_t ix,
                         int32_t offset, int8_t *to) {
  const int32_t depth = p->group_in;
  if (p->dilation_w == 1 && depth == p->in_c) {
    /* a kernel row is a run, of which the map may lack the beginning and the end */
    const int32_t before = ix < 0 ? -ix : 0;
    const int32_t behind = ix + p->kernel_w > p->in_w ? ix + p->kernel_w - p->in_w : 0;
    const int32_t left = depth * (before < p->kernel_w ? before : p->kernel_w);
    const int32_t right = depth * (behind < p->kernel_w ? behind : p->kernel_w);
    const int32_t run = depth * p->kernel_w;
    const int32_t middle = run - left - right;
    const int8_t pad = in->pad == NULL ? 0 : ((const int8_t *)in->pad)[0];
    for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
      const int32_t y = iy + ky * p->dilation_h;
      if (y < 0 || y >= in->rows || middle <= 0) {
        tm_mve_fill(to, pad, run);
      } else {
        if (left != 0) {
          tm_mve_fill(to, pad, left);
        }
        tm_mve_copy(to + left, (const int8_t *)tm_row(in, y) + (ix + before) * depth, middle);
        if (right != 0) {
          tm_mve_fill(to + left + middle, pad, right);
        }
      }
      to += run;
    }
    return;
  }
  for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
    const int8_t *row = (const int8_t *)tm_row(in, iy + ky * p->dilation_h);
    for (int32_t kx = 0; kx < p->kernel_w; ++kx) {
      const int32_t x = ix + kx * p->dilation_w;
      const int8_t *from = x < 0 || x >= p->in_w ? (const int8_t *)in->pad : row + x * p->in_c;
      tm_mve_copy(to, from + offset, depth);
      to += depth;
    }
  }
}

/* Two patches of `rows` runs each, their sources `pitch` bytes apart; where `loose`, it may read
 * and write up to 15 bytes too many behind the last run. */
static inline void tm_mve_patches(int8_t *to0, int8_t *to1, const int8_t *from0,
                                  const int8_t *from1, int32_t pitch, int32_t run, int32_t rows,
                                  int32_t loose) {
#if defined(TM_MVE_ASM)
  if (run <= 16 && loose) {
    __asm__ volatile(
        "dls lr, %[rows]\n"
        "1:\n\t"
        "vldrb.u8 q0, [%[from0]]\n\t"
        "vldrb.u8 q1, [%[from1]]\n\t"
        "add %[from0], %[pitch]\n\t"
        "add %[from1], %[pitch]\n\t"
        "vstrb.8 q0, [%[to0]]\n\t"
        "vstrb.8 q1, [%[to1]]\n\t"
        "add %[to0], %[run]\n\t"
        "add %[to1], %[run]\n\t"
        "le lr, 1b\n\t"
        : [to0] "+&r"(to0), [from0] "+&r"(from0), [to1] "+&r"(to1), [from1] "+&r"(from1)
        : [pitch] "r"(pitch), [run] "r"(run), [rows] "r"(rows)
        : "lr", "q0", "q1", "memory");
    return;
  }
#endif
  (void)loose;
  for (; rows > 0; --rows) {
    tm_mve_copy2(to0, from0, to1, from1, run);
    to0 += run;
    to1 += run;
    from0 += pitch;
    from1 += pitch;
  }
}

/* Those rows of `pairs` pairs of patches that lie behind the end of a ring. */
static TM_MVE_NOINLINE void tm_mve_more_patches(const tm_mve_gemm *gemm, int8_t *to,
                                                const int8_t *from, int32_t pitch, int32_t rows,
                                                int32_t loose, int32_t pairs) {
  const tm_conv2d_s8_params *p = gemm->p;
  const int32_t bytes = 16 * gemm->chunks + 16;
  const int32_t step = p->stride_w * p->in_c;
  for (; pairs > 0; --pairs) {
    tm_mve_patches(to, to + bytes, from, from + step, pitch, p->kernel_w * p->in_c, rows, loose);
    to += 2 * bytes;
    from += 2 * step;
  }
}

/* The end of what a view of the input owns: behind the columns of its last row. */
static inline const int8_t *tm_mve_end(const tm_conv2d_s8_params *p, const tm_rows *in) {
  return (const int8_t *)in->base + (in->ring - 1) * in->row_bytes + p->in_w * p->in_c;
}

/* Rows [row0, row1) through patches. */
static void tm_mve_gemm_patches(const tm_mve_gemm *gemm, const tm_rows *in, const tm_rows *out,
                                int32_t row0, int32_t row1, int8_t *patch) {
  const tm_conv2d_s8_params *p = gemm->p;
  const int32_t bytes = 16 * gemm->chunks + 16;
  const int32_t groups = p->in_c / p->group_in;
  const int32_t words = (p->group_out + 3) / 4 * gemm->words;
  const int32_t joined = p->dilation_w == 1 && groups == 1;
  const int32_t run = p->kernel_w * p->in_c;
  /* where joined, columns whose windows lie inside the map */
  const int32_t low = (p->pad_left + p->stride_w - 1) / p->stride_w;
  const int32_t room = p->in_w - p->kernel_w + p->pad_left;
  const int32_t high = room < 0 ? 0 : room / p->stride_w + 1;
  const int8_t *end = tm_mve_end(p, in) - (run + 15) / 16 * 16;
  /* pairs whose patches lie in scratch at once */
  const int32_t batch = TM_MVE_PATCHES < 2 * bytes ? 1 : TM_MVE_PATCHES / (2 * bytes);
  int32_t left = (row1 - row0) * p->out_w;
  int32_t oy = row0;
  int32_t ox = 0;
  int32_t inside = 0;
  int32_t above = 0; /* of the kernel's rows, those above the map, then those inside */
  int32_t taps = 0;
  int32_t first = 0;  /* of these, those before the end of the ring */
  int32_t window = 0; /* where that of column 0 begins in the map */
  int8_t *y = NULL;
  int32_t fresh = 1;
  while (left > 0) {
    if (fresh) {
      const int32_t iy = oy * p->stride_h - p->pad_top;
      above = iy < 0 ? (-iy + p->dilation_h - 1) / p->dilation_h : 0;
      const int32_t beyond = iy + (p->kernel_h - 1) * p->dilation_h - in->rows + 1;
      taps = p->kernel_h - above;
      if (beyond > 0) {
        taps -= (beyond + p->dilation_h - 1) / p->dilation_h;
      }
      inside = joined && taps > 0;
      if (inside) {
        int32_t slot = iy + above * p->dilation_h;
        first = taps;
        if (in->ring != in->rows) {
          slot %= in->ring;
          if (slot + (taps - 1) * p->dilation_h >= in->ring) {
            first = (in->ring - slot + p->dilation_h - 1) / p->dilation_h;
          }
        }
        window = slot * in->row_bytes - p->pad_left * p->in_c;
      }
      y = (int8_t *)tm_row_out(out, oy);
      fresh = 0;
    }
    if (inside && ox >= low) {
      /* pairs of this row whose columns lie inside the map, and so what is read too much */
      const int32_t pitch = p->dilation_h * in->row_bytes;
      const int32_t hop = 2 * p->stride_w * p->in_c;
      const int8_t *from = (const int8_t *)in->base + (window + ox * p->stride_w * p->in_c);
      int8_t *to = y + ox * p->out_c;
      const int32_t most = (int32_t)(end - from) - hop / 2 - (first - 1) * pitch;
      int32_t pairs = ((high < p->out_w ? high : p->out_w) - ox) / 2;
      if (most < (pairs - 1) * hop) {
        pairs = most < 0 ? 0 : most / hop + 1;
      }
      if (pairs > 0) {
        ox += 2 * pairs;
        left -= 2 * pairs;
        if (taps < p->kernel_h) {
          /* the kernel's rows outside the map are the same for all pixels of the row */
          const int8_t pad = ((const int8_t *)in->pad)[0];
          const int32_t below = above + taps;
          for (int32_t i = 2 * (pairs < batch ? pairs : batch) - 1; i >= 0; --i) {
            tm_mve_fill(patch + i * bytes, pad, above * run);
            tm_mve_fill(patch + i * bytes + below * run, pad, (p->kernel_h - below) * run);
          }
        }
        do {
          const int32_t some = pairs < batch ? pairs : batch;
          int8_t *at = patch + above * run;
          for (int32_t i = some; i > 0; --i) {
            tm_mve_patches(at, at + bytes, from, from + hop / 2, pitch, run, first,
                           above + taps == p->kernel_h);
            at += 2 * bytes;
            from += hop;
          }
          if (first != taps) {
            const int32_t back = some * hop + in->ring * in->row_bytes;
            tm_mve_more_patches(gemm, patch + (above + first) * run, from + (first * pitch - back),
                                pitch, taps - first, above + taps == p->kernel_h, some);
          }
          tm_mve_gemm_pairs(gemm, gemm->stream, patch, patch + bytes, 2 * bytes, to, to + p->out_c,
                            2 * p->out_c, some);
          to += 2 * p->out_c * some;
          pairs -= some;
        } while (pairs > 0);
        if (ox == p->out_w) {
          ox = 0;
          ++oy;
          fresh = 1;
        }
        continue;
      }
    }
    int32_t iy[2], ix[2];
    int8_t *to[2];
    for (int32_t t = 0; t < 2; ++t) {
      if (t < left) {
        iy[t] = oy * p->stride_h - p->pad_top;
        ix[t] = ox * p->stride_w - p->pad_left;
        to[t] = (int8_t *)tm_row_out(out, oy) + ox * p->out_c;
        if (++ox == p->out_w) {
          ox = 0;
          ++oy;
          fresh = 1;
        }
      } else {
        iy[t] = iy[0];
        ix[t] = ix[0];
        to[t] = to[0];
      }
    }
    for (int32_t g = 0; g < groups; ++g) {
      for (int32_t t = 0; t < 2; ++t) {
        tm_mve_patch(p, in, iy[t], ix[t], g * p->group_in, patch + t * bytes);
      }
      tm_mve_gemm_pairs(gemm, gemm->stream + g * words, patch, patch + bytes, 0,
                        to[0] + g * p->group_out, to[1] + g * p->group_out, 0, 1);
    }
    left -= 2;
  }
}

/* How many of `rows` rows from y on lie one behind the other. */
static inline int32_t tm_mve_before_end(const tm_rows *map, int32_t y, int32_t rows) {
  const int32_t most = map->ring - y % map->ring;
  return rows < most ? rows : most;
}

/* Rows [row0, row1), pairs of pixels crossing from one row to the next. */
static void tm_mve_gemm_rows(const tm_mve_gemm *gemm, const tm_rows *in, const tm_rows *out,
                             int32_t row0, int32_t row1, int8_t *scratch) {
  const tm_conv2d_s8_params *p = gemm->p;
  const int32_t in_place = p->kernel_h == 1 && p->kernel_w == 1 && p->pad_top == 0 &&
                           p->pad_left == 0 && p->out_w * p->stride_w <= p->in_w + p->stride_w - 1;
  if (!in_place) {
    tm_mve_gemm_patches(gemm, in, out, row0, row1, scratch);
    return;
  }
  const int8_t *end = tm_mve_end(p, in);
  const int32_t step = p->stride_w * p->in_c;
  /* whether rows lie one behind the other */
  const int32_t merged = p->stride_h == 1 && p->stride_w == 1 &&
                         in->row_bytes == p->out_w * p->in_c &&
                         out->row_bytes == p->out_w * p->out_c;
  int32_t rows = 1;
  for (int32_t oy = row0; oy < row1; oy += rows) {
    if (oy * p->stride_h >= in->rows) {
      tm_mve_gemm_patches(gemm, in, out, oy, row1, scratch);
      return;
    }
    if (merged) {
      rows = (row1 < in->rows ? row1 : in->rows) - oy;
      if (in->ring != in->rows || out->ring != out->rows) {
        rows = tm_mve_before_end(in, oy, tm_mve_before_end(out, oy, rows));
      }
    }
    tm_mve_gemm_run(gemm, (const int8_t *)tm_row(in, oy * p->stride_h), step,
                    (int8_t *)tm_row_out(out, oy), rows * p->out_w, end, scratch);
  }
}

/* The driver of all instances. */
static tm_status tm_mve_gemm_part(const tm_mve_gemm *gemm, const tm_rows *in, const tm_rows *out,
                                  const tm_part *part, void *scratch) {
  int32_t row = part->row0;
  if (row % 2 != 0 && gemm->p->out_w % 2 != 0 && row < part->row1) {
    tm_mve_gemm_rows(gemm, in, out, row, row + 1, (int8_t *)scratch);
    ++row;
  }
  if (row < part->row1) {
    tm_mve_gemm_rows(gemm, in, out, row, part->row1, (int8_t *)scratch);
  }
  return TM_OK;
}

#endif

#if TM_FLOAT
#define TM_MVE_RECORD 4
#elif TM_LEFT
#define TM_MVE_RECORD 12
#else
#define TM_MVE_RECORD 8
#endif

#if defined(TM_MVE_ASM)

/* One piece of both patches, at `x0` and `x1`, against the weights of four channels. */
#define TM_MVE_CHUNK(x0, x1)    \
  "vldrb.u8 q0, " x0            \
  "\n\t"                        \
  "vldrb.u8 q1, " x1            \
  "\n\t"                        \
  "vldrw.u32 q2, [r1], #16\n\t" \
  "vldrw.u32 q3, [r1], #16\n\t" \
  "vmladava.s8 r0, q2, q0\n\t"  \
  "vmladava.s8 r8, q2, q1\n\t"  \
  "vldrw.u32 q2, [r1], #16\n\t" \
  "vmladava.s8 r2, q3, q0\n\t"  \
  "vmladava.s8 r10, q3, q1\n\t" \
  "vldrw.u32 q3, [r1], #16\n\t" \
  "vmladava.s8 r4, q2, q0\n\t"  \
  "vmladava.s8 r12, q2, q1\n\t" \
  "vmladava.s8 r6, q3, q0\n\t"  \
  "vmladava.s8 lr, q3, q1\n\t"

#if TM_FLOAT
#define TM_MVE_RESCALE          \
  "vldrw.u32 q2, [r1], #16\n\t" \
  "vcvt.f32.s32 q0, q0\n\t"     \
  "vcvt.f32.s32 q1, q1\n\t"     \
  "vmul.f32 q0, q0, q2\n\t"     \
  "vmul.f32 q1, q1, q2\n\t"     \
  "vcvtn.s32.f32 q0, q0\n\t"    \
  "vcvtn.s32.f32 q1, q1\n\t"
#else
#if TM_LEFT
#define TM_MVE_SHIFT_LEFT       \
  "vldrw.u32 q4, [r1, #32]\n\t" \
  "vshl.s32 q0, q0, q4\n\t"     \
  "vshl.s32 q1, q1, q4\n\t"
#define TM_MVE_SKIP "adds r1, #16\n\t"
#else
#define TM_MVE_SHIFT_LEFT
#define TM_MVE_SKIP
#endif
#if TM_SIGNED
/* one less where a negative number is shifted to the right */
#define TM_MVE_AWAY          \
  "vand q4, q0, q3\n\t"      \
  "vshr.s32 q4, q4, #31\n\t" \
  "vqadd.s32 q0, q0, q4\n\t" \
  "vand q4, q1, q3\n\t"      \
  "vshr.s32 q4, q4, #31\n\t" \
  "vqadd.s32 q1, q1, q4\n\t"
#else
#define TM_MVE_AWAY
#endif
#define TM_MVE_RESCALE                      \
  TM_MVE_SHIFT_LEFT                         \
  "vldrw.u32 q2, [r1], #16\n\t"             \
  "vldrw.u32 q3, [r1], #16\n\t" TM_MVE_SKIP \
  "vqrdmulh.s32 q0, q0, q2\n\t"             \
  "vqrdmulh.s32 q1, q1, q2\n\t" TM_MVE_AWAY \
  "vrshl.s32 q0, q0, q3\n\t"                \
  "vrshl.s32 q1, q1, q3\n\t"
#endif
#if TM_CLAMPED
#define TM_MVE_CLAMP        \
  "vmax.s16 q0, q0, q5\n\t" \
  "vmin.s16 q0, q0, q6\n\t"
#else
#define TM_MVE_CLAMP
#endif

/* Sums start from the biases. */
#if TM_VARIED
#define TM_MVE_START               \
  "ldr r12, %[job]\n\t"            \
  "ldr r0, [r12, #40]\n\t"         \
  "add r2, r0, #16\n\t"            \
  "str r2, [r12, #40]\n\t"         \
  "ldm r0, {r8, r10, r12, lr}\n\t" \
  "ldm r0, {r0, r2, r4, r6}\n\t"
#define TM_MVE_AGAIN       \
  "ldr r0, [r12, #44]\n\t" \
  "str r0, [r12, #40]\n\t"
#else
#define TM_MVE_START               \
  "ldm r1, {r8, r10, r12, lr}\n\t" \
  "ldm r1!, {r0, r2, r4, r6}\n\t"
#define TM_MVE_AGAIN
#endif

static
    __attribute__((noinline)) void TM_INSTANCE(tm_conv2d_mve_blocks)(const tm_conv2d_s8_params *p,
                                                                     tm_mve_pairs *job) {
  const int32_t zero = p->out_zero;
#if TM_CLAMPED
  const int32_t lo = p->lo;
  const int32_t hi = p->hi;
#endif
#if TM_CHUNKS == 0 || TM_CHUNKS > 8
  const int32_t *const stop = job->stop;
#endif
#if TM_CHUNKS == 0
  const int32_t times = job->chunks;
  const int32_t back = 16 * times;
#endif
  __asm__ volatile(
      "ldr r0, %[zero]\n\t"
      "vdup.16 q7, r0\n\t"
#if TM_CLAMPED
      "ldr r0, %[lo]\n\t"
      "vdup.16 q5, r0\n\t"
      "ldr r0, %[hi]\n\t"
      "vdup.16 q6, r0\n\t"
#endif
      "ldr r12, %[job]\n\t"
      "ldm r12, {r1, r3, r5, r7, r9, r11}\n"
      "1:\n\t"
      TM_MVE_START
#if TM_CHUNKS == 0
      "ldr r11, %[times]\n"
      "2:\n\t"
      TM_MVE_CHUNK("[r5], #16", "[r9], #16")
      "subs r11, #1\n\t"
      "bne 2b\n\t"
      "ldr r11, %[back]\n\t"
      "sub r5, r11\n\t"
      "sub r9, r11\n\t"
#elif TM_CHUNKS > 8
      ".rept %c[rest]\n\t"
      TM_MVE_CHUNK("[r5], #16", "[r9], #16")
      ".endr\n\t"
      "mov r11, %[times]\n"
      "2:\n\t"
      ".rept 8\n\t"
      TM_MVE_CHUNK("[r5], #16", "[r9], #16")
      ".endr\n\t"
      "subs r11, #1\n\t"
      "bne 2b\n\t"
      "sub r5, %[back]\n\t"
      "sub r9, %[back]\n\t"
#else
      ".set .Ltm_byte, 0\n\t"
      ".rept %c[rest]\n\t"
      TM_MVE_CHUNK("[r5, #.Ltm_byte]", "[r9, #.Ltm_byte]")
      ".set .Ltm_byte, .Ltm_byte + 16\n\t"
      ".endr\n\t"
#endif
      "vmov d0, r0, r2\n\t"
      "vmov d1, r4, r6\n\t"
      "vmov d2, r8, r10\n\t"
      "vmov d3, r12, lr\n\t"
      TM_MVE_RESCALE
      "vqmovnb.s32 q0, q0\n\t"
      "vqmovnt.s32 q0, q1\n\t"
      "vqadd.s16 q0, q0, q7\n\t"
      TM_MVE_CLAMP
      "vqmovnb.s16 q0, q0\n\t"
      "vstrb.32 q0, [r3], #4\n\t"
      "vshr.u32 q0, q0, #16\n\t"
      "vstrb.32 q0, [r7], #4\n\t"
#if TM_CHUNKS == 0 || TM_CHUNKS > 8
      "ldr r11, %[stop]\n\t"
#endif
      "cmp r1, r11\n\t"
      "bne 1b\n\t"
      /* the next pair */
      "ldr r12, %[job]\n\t"
      TM_MVE_AGAIN
      "ldr r1, [r12]\n\t"
      "add r12, #24\n\t"
      "ldm r12, {r0, r2, r4}\n\t"
      "add r5, r2\n\t"
      "add r9, r2\n\t"
      "add r3, r4\n\t"
      "add r7, r4\n\t"
      "subs r0, #1\n\t"
      "str r0, [r12]\n\t"
      "bne 1b\n\t"
      :
      : [zero] "m"(zero), [job] "m"(job)
#if TM_CLAMPED
        , [lo] "m"(lo), [hi] "m"(hi)
#endif
#if TM_CHUNKS == 0
        , [times] "m"(times), [back] "m"(back), [stop] "m"(stop)
#elif TM_CHUNKS > 8
        , [times] "i"(TM_CHUNKS / 8), [back] "i"(16 * TM_CHUNKS), [rest] "i"(TM_CHUNKS % 8),
        [stop] "m"(stop)
#else
        , [rest] "i"(TM_CHUNKS)
#endif
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",
        "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "cc", "memory");
}
#undef TM_MVE_START
#undef TM_MVE_AGAIN
#undef TM_MVE_CHUNK
#undef TM_MVE_RESCALE
#undef TM_MVE_CLAMP
#undef TM_MVE_AWAY
#undef TM_MVE_SHIFT_LEFT
#undef TM_MVE_SKIP

#else

static void TM_INSTANCE(tm_conv2d_mve_blocks)(const tm_conv2d_s8_params *p, tm_mve_pairs *job) {
  const int8_t *x0 = job->x0;
  const int8_t *x1 = job->x1;
  int8_t *y0 = job->y0;
  int8_t *y1 = job->y1;
  for (; job->pairs > 0; --job->pairs) {
    const int32_t *bias = job->first_bias;
    for (const int32_t *at = job->stream; at != job->stop;) {
#if TM_VARIED
      const int32_t *const block = at;
#else
      const int32_t *const block = at + 4;
      bias = at;
#endif
      const int8_t *w = (const int8_t *)block;
      const int32_t *record = block + 16 * job->chunks;
      for (int32_t c = 0; c < 4; ++c) {
        int32_t acc[2] = {bias[c], bias[c]};
        for (int32_t k = 0; k < 16 * job->chunks; ++k) {
          const int32_t weight = w[(k / 16 * 4 + c) * 16 + k % 16];
          /* what lies beyond the patch counts nothing */
          acc[0] += weight == 0 ? 0 : weight * x0[k];
          acc[1] += weight == 0 ? 0 : weight * x1[k];
        }
        for (int32_t t = 0; t < 2; ++t) {
#if TM_FLOAT
          float scale;
          memcpy(&scale, record + c, sizeof scale);
          const int32_t q = tm_round_even((float)acc[t] * scale);
#elif TM_LEFT
          const int32_t q = tm_scale_fixed(acc[t], record[c], record[4 + c] + record[8 + c]);
#else
          const int32_t q = tm_scale_fixed(acc[t], record[c], record[4 + c]);
#endif
          (t == 0 ? y0 : y1)[c] = (int8_t)tm_clamp(q + p->out_zero, p->lo, p->hi);
        }
      }
      y0 += 4;
      y1 += 4;
      bias += 4;
      at = record + TM_MVE_RECORD;
    }
    x0 += job->x_step;
    x1 += job->x_step;
    y0 += job->y_step;
    y1 += job->y_step;
  }
}
#endif

static tm_status TM_INSTANCE(tm_conv2d_mve_s8)(const tm_conv2d_s8_params *p, const tm_rows *in,
                                               const int32_t *weights, const int32_t *bias,
                                               const tm_rows *out, const tm_part *part,
                                               void *scratch) {
  const int32_t chunks = (p->kernel_h * p->kernel_w * p->group_in + 15) / 16;
#if TM_VARIED
  int32_t *const biases = (int32_t *)scratch;
  int32_t *to = biases;
  for (int32_t c = 0; c < p->out_c; ++c) {
    *to++ = tm_bias(bias, TM_BIAS_LIMIT(p), c);
    if ((c + 1) % p->group_out == 0) {
      while ((to - biases) % 4 != 0) {
        *to++ = 0;
      }
    }
  }
  const tm_mve_gemm gemm = {
      p, TM_INSTANCE(tm_conv2d_mve_blocks), weights, 16 * chunks + TM_MVE_RECORD, chunks, biases};
  return tm_mve_gemm_part(&gemm, in, out, part, to);
#else
  const tm_mve_gemm gemm = {
      p, TM_INSTANCE(tm_conv2d_mve_blocks), weights, 4 + 16 * chunks + TM_MVE_RECORD, chunks, NULL};
  (void)bias;
  return tm_mve_gemm_part(&gemm, in, out, part, scratch);
#endif
}

#undef TM_MVE_RECORD
#undef TM_VARIED
