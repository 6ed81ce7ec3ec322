/* Convolution as a matrix product on cores with SMLAD, any shape: the patches of three output
 * pixels are widened to 16 bits side by side in scratch, then two channels by three pixels are
 * summed in registers (8 instructions for 12 products).
 *
 * Compiled once for each TM_SHIFT (the common right shift of the rescaling), TM_SIGNED (records
 * have a correction of negative sums) and TM_CLAMPED (the clamp is narrower than int8).
 *
 * Weights are the layout "gemm_2x3_wide": int32 words; for each two channels of a group their
 * biases, for each pair of taps the word of either channel (two weights of 16 bits, scaled by a
 * power of two), the rescaling records {multiplier, offset[, correction]}. Patches: for each
 * pair of taps the words of the three pixels. Taps of a kernel row that lie side by side are a
 * run, in the order in which SXTB16 widens it: (0, 2), (1, 3), ..., rest (0, 1), (2, none).
 *
 * Scratch: 12 bytes for each pair of taps, then three runs of bytes. */
#include <stddef.h>
#include <string.h>

#include "tm_conv2d.h"
#include "tm_dsp.h"
#include "tm_rescale.h"

#ifndef TM_CONV2D_GEMM_ONCE
#define TM_CONV2D_GEMM_ONCE

enum { TM_GEMM_UNROLL = 8 };

/* Widens the runs at p0, p1, p2 into words of the three pixels; returns the end of what it wrote.
 */
static TM_NOINLINE uint32_t *tm_gemm_widen(const int8_t *p0, const int8_t *p1, const int8_t *p2,
                                           int32_t length, uint32_t *to) {
  int32_t quads = length >> 2;
#if defined(TM_DSP_ASM)
  if (quads & 1) {
    __asm__ volatile(
        "ldr r8, [%[p0]], #4\n\t"
        "ldr r9, [%[p1]], #4\n\t"
        "ldr r10, [%[p2]], #4\n\t"
        "sxtb16 r4, r8\n\t"
        "sxtb16 r5, r9\n\t"
        "sxtb16 r6, r10\n\t"
        "sxtb16 r8, r8, ror #8\n\t"
        "sxtb16 r9, r9, ror #8\n\t"
        "sxtb16 r10, r10, ror #8\n\t"
        "stm %[to]!, {r4, r5, r6, r8, r9, r10}\n\t"
        : [p0] "+r"(p0), [p1] "+r"(p1), [p2] "+r"(p2), [to] "+r"(to)
        :
        : "r4", "r5", "r6", "r8", "r9", "r10", "memory");
    --quads;
  }
  if (quads != 0) {
    const int8_t *end = p0 + 4 * quads;
    __asm__ volatile(
        "1:\n\t"
        "ldr r8, [%[p0]], #4\n\t"
        "ldr r9, [%[p1]], #4\n\t"
        "ldr r10, [%[p2]], #4\n\t"
        "sxtb16 r4, r8\n\t"
        "sxtb16 r5, r9\n\t"
        "sxtb16 r6, r10\n\t"
        "sxtb16 r8, r8, ror #8\n\t"
        "sxtb16 r9, r9, ror #8\n\t"
        "sxtb16 r10, r10, ror #8\n\t"
        "stm %[to]!, {r4, r5, r6, r8, r9, r10}\n\t"
        "ldr r8, [%[p0]], #4\n\t"
        "ldr r9, [%[p1]], #4\n\t"
        "ldr r10, [%[p2]], #4\n\t"
        "sxtb16 r4, r8\n\t"
        "sxtb16 r5, r9\n\t"
        "sxtb16 r6, r10\n\t"
        "sxtb16 r8, r8, ror #8\n\t"
        "sxtb16 r9, r9, ror #8\n\t"
        "sxtb16 r10, r10, ror #8\n\t"
        "stm %[to]!, {r4, r5, r6, r8, r9, r10}\n\t"
        "cmp %[p0], %[end]\n\t"
        "bne 1b\n\t"
        : [p0] "+r"(p0), [p1] "+r"(p1), [p2] "+r"(p2), [to] "+r"(to)
        : [end] "r"(end)
        : "r4", "r5", "r6", "r8", "r9", "r10", "memory", "cc");
  }
#else
  for (; quads != 0; --quads) {
    const uint32_t a = tm_load4(p0), b = tm_load4(p1), c = tm_load4(p2);
    to[0] = tm_sxtb16(a);
    to[1] = tm_sxtb16(b);
    to[2] = tm_sxtb16(c);
    to[3] = tm_sxtb16_ror8(a);
    to[4] = tm_sxtb16_ror8(b);
    to[5] = tm_sxtb16_ror8(c);
    to += 6;
    p0 += 4;
    p1 += 4;
    p2 += 4;
  }
#endif
  if (length & 2) {
    to[0] = tm_pack16(p0[0], p0[1]);
    to[1] = tm_pack16(p1[0], p1[1]);
    to[2] = tm_pack16(p2[0], p2[1]);
    to += 3;
    p0 += 2;
    p1 += 2;
    p2 += 2;
  }
  if (length & 1) {
    /* the other half meets a weight of 0 */
    to[0] = (uint32_t)p0[0];
    to[1] = (uint32_t)p1[0];
    to[2] = (uint32_t)p2[0];
    to += 3;
  }
  return to;
}

/* Sums of two channels and three pixels in C: [channel][pixel]. */
static inline const int32_t *tm_gemm_sums(const int32_t *stream, const uint32_t *patch,
                                          int32_t pairs, uint32_t acc[2][3]) {
  for (int32_t t = 0; t < 3; ++t) {
    acc[0][t] = (uint32_t)stream[0];
    acc[1][t] = (uint32_t)stream[1];
  }
  stream += 2;
  for (int32_t i = 0; i < pairs; ++i) {
    for (int32_t t = 0; t < 3; ++t) {
      acc[0][t] = tm_smlad(patch[t], (uint32_t)stream[0], acc[0][t]);
      acc[1][t] = tm_smlad(patch[t], (uint32_t)stream[1], acc[1][t]);
    }
    patch += 3;
    stream += 2;
  }
  return stream;
}

/* Where the next channel of the three pixels goes: the first's address, distances of the others
 * (0 where there is none: the first is written last). */
typedef struct {
  int8_t *first;
  int32_t second, third;
} tm_gemm_target;

/* Where a block of three pixels begins in the input: row and column of its first tap. */
typedef struct {
  int32_t iy[3], ix[3];
} tm_gemm_origin;

/* One tap of a pixel: a pointer to its channels, in the map or in its pad row. */
static inline const int8_t *tm_gemm_tap(const tm_conv2d_s8_params *p, const tm_rows *in, int32_t iy,
                                        int32_t ix, int32_t offset) {
  if (ix < 0 || ix >= p->in_w) {
    return (const int8_t *)in->pad;
  }
  return (const int8_t *)tm_row(in, iy) + ix * p->in_c + offset;
}

/* The patches of pixels that may reach beyond the map. */
static TM_NOINLINE void tm_gemm_edge(const tm_conv2d_s8_params *p, const tm_rows *in,
                                     const tm_gemm_origin *at, int32_t offset, uint32_t *to,
                                     int8_t *spare) {
  const int32_t joined = p->dilation_w == 1 && p->group_in == p->in_c;
  const int32_t run = p->kernel_w * p->group_in;
  for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
    const int32_t dy = ky * p->dilation_h;
    if (joined && p->group_in % 4 != 0) {
      /* the quads of a run span taps */
      for (int32_t t = 0; t < 3; ++t) {
        int8_t *copy = spare + t * run;
        for (int32_t kx = 0; kx < p->kernel_w; ++kx) {
          const int8_t *from = tm_gemm_tap(p, in, at->iy[t] + dy, at->ix[t] + kx, 0);
          for (int32_t i = 0; i < p->group_in; ++i) {
            *copy++ = from[i];
          }
        }
      }
      to = tm_gemm_widen(spare, spare + run, spare + 2 * run, run, to);
      continue;
    }
    for (int32_t kx = 0; kx < p->kernel_w; ++kx) {
      const int32_t dx = kx * p->dilation_w;
      to = tm_gemm_widen(tm_gemm_tap(p, in, at->iy[0] + dy, at->ix[0] + dx, offset),
                         tm_gemm_tap(p, in, at->iy[1] + dy, at->ix[1] + dx, offset),
                         tm_gemm_tap(p, in, at->iy[2] + dy, at->ix[2] + dx, offset), p->group_in,
                         to);
    }
  }
}

#endif

#if TM_SIGNED
#define TM_GEMM_RECORD 3
#else
#define TM_GEMM_RECORD 2
#endif

/* Rescales a sum by a record, in C. */
static inline int8_t TM_INSTANCE(tm_gemm_rescale)(const tm_conv2d_s8_params *p, uint32_t acc,
                                                  const int32_t *record) {
  int32_t y = tm_smmla((int32_t)acc, record[0], record[1]);
#if TM_SIGNED
  y -= (int32_t)acc < 0 ? record[2] : 0;
#endif
  y = tm_clamp(y >> TM_SHIFT, -128, 127);
#if TM_CLAMPED
  y = tm_clamp(y, p->lo, p->hi);
#else
  (void)p;
#endif
  return (int8_t)y;
}

/* Two channels of three pixels in C, for blocks that have one channel only or are rescaled by
 * the definition, and for compilers without the assembly. */
static TM_NOINLINE const int32_t *TM_INSTANCE(tm_gemm_block)(const tm_conv2d_s8_params *p,
                                                             const int32_t *stream,
                                                             const uint32_t *patch, int32_t pairs,
                                                             tm_gemm_target *to, int32_t o,
                                                             int32_t exceptional) {
  const int32_t at[3] = {0, to->second, to->third};
  const int32_t channels = p->group_out - o % p->group_out < 2 ? 1 : 2;
  uint32_t acc[2][3];
  stream = tm_gemm_sums(stream, patch, pairs, acc);
  for (int32_t c = 0; c < channels; ++c) {
    for (int32_t t = 2; t >= 0; --t) {
      int32_t y;
      if (exceptional) {
        y = tm_rescale((int32_t)acc[c][t], p->multiplier, p->shift, p->scale, o + c);
        y = tm_clamp(y + p->out_zero, p->lo, p->hi);
      } else {
        y = TM_INSTANCE(tm_gemm_rescale)(p, acc[c][t], stream + TM_GEMM_RECORD * c);
      }
      to->first[at[t]] = (int8_t)y;
    }
    ++to->first;
  }
  return stream + 2 * TM_GEMM_RECORD;
}

#if defined(TM_DSP_ASM)
#define TM_GEMM_PAIR            \
  "ldm.w r1!, {r2, r3, r4}\n\t" \
  "ldrd r5, r6, [r0], #8\n\t"   \
  "smlad r7, r2, r5, r7\n\t"    \
  "smlad r8, r2, r6, r8\n\t"    \
  "smlad r9, r3, r5, r9\n\t"    \
  "smlad r10, r3, r6, r10\n\t"  \
  "smlad r11, r4, r5, r11\n\t"  \
  "smlad r12, r4, r6, r12\n\t"
#if TM_SIGNED
#define TM_GEMM_SCALE(acc) \
  "and r4, r3, " acc       \
  ", asr #31\n\t"          \
  "smmla " acc ", " acc    \
  ", r1, r2\n\t"           \
  "sub " acc ", " acc ", r4\n\t"
#define TM_GEMM_RESCALE                                                                         \
  "ldm r0!, {r1, r2, r3}\n\t" TM_GEMM_SCALE("r7") TM_GEMM_SCALE("r9")                           \
      TM_GEMM_SCALE("r11") "ldm r0!, {r1, r2, r3}\n\t" TM_GEMM_SCALE("r8") TM_GEMM_SCALE("r10") \
          TM_GEMM_SCALE("r12")
#else
#define TM_GEMM_RESCALE           \
  "ldm r0!, {r1, r2, r3, r4}\n\t" \
  "smmla r7, r7, r1, r2\n\t"      \
  "smmla r9, r9, r1, r2\n\t"      \
  "smmla r11, r11, r1, r2\n\t"    \
  "smmla r8, r8, r3, r4\n\t"      \
  "smmla r10, r10, r3, r4\n\t"    \
  "smmla r12, r12, r3, r4\n\t"
#endif
#if TM_CLAMPED
#define TM_GEMM_NARROW(acc)                  \
  "ssat " acc ", #8, " acc                   \
  ", asr %[shift]\n\t"                       \
  "cmp " acc ", r1\n\t it lt\n\t movlt " acc \
  ", r1\n\t"                                 \
  "cmp " acc ", r2\n\t it gt\n\t movgt " acc ", r2\n\t"
#define TM_GEMM_LIMITS "ldrd r1, r2, %[limits]\n\t"
#else
#define TM_GEMM_NARROW(acc) "ssat " acc ", #8, " acc ", asr %[shift]\n\t"
#define TM_GEMM_LIMITS
#endif

/* Blocks of two channels and three pixels until the weights reach `stop`. */
static inline void TM_INSTANCE(tm_gemm_blocks)(const tm_conv2d_s8_params *p, const int32_t *stream,
                                               const int32_t *stop, const uint32_t *patch,
                                               int32_t pairs, tm_gemm_target *target) {
  /* all registers are in use inside, so what the blocks share lies on the stack */
  tm_gemm_target to = *target;
  const struct {
    const uint32_t *first, *end;
  } map = {patch, patch + 3 * pairs};
  /* the first pass through the unrolled pairs enters late */
  const int32_t skip = 32 * (-pairs & (TM_GEMM_UNROLL - 1));
#if TM_CLAMPED
  const struct {
    int32_t lo, hi;
  } limits = {p->lo, p->hi};
#else
  (void)p;
#endif
  __asm__ volatile(
      "ldr r0, %[stream]\n"
      "1:\n\t"
      "ldrd r7, r8, [r0], #8\n\t"
      "ldrd r1, lr, %[map]\n\t"
      "ldr r2, %[skip]\n\t"
      "mov r9, r7\n\t"
      "mov r10, r8\n\t"
      "mov r11, r7\n\t"
      "mov r12, r8\n\t"
      ".balign 4\n\t"
      "add pc, r2\n\t"
      "nop\n"
      "2:\n\t"
      TM_GEMM_PAIR TM_GEMM_PAIR TM_GEMM_PAIR TM_GEMM_PAIR
      TM_GEMM_PAIR TM_GEMM_PAIR TM_GEMM_PAIR TM_GEMM_PAIR
      "cmp r1, lr\n\t"
      "bne 2b\n\t"
      TM_GEMM_RESCALE
      TM_GEMM_LIMITS
      "ldrd r5, r6, %[to]\n\t"
      "ldr lr, %[third]\n\t"
      TM_GEMM_NARROW("r7") TM_GEMM_NARROW("r8") TM_GEMM_NARROW("r9")
      TM_GEMM_NARROW("r10") TM_GEMM_NARROW("r11") TM_GEMM_NARROW("r12")
      "strb r11, [r5, lr]\n\t"
      "strb r9, [r5, r6]\n\t"
      "strb r7, [r5], #1\n\t"
      "strb r12, [r5, lr]\n\t"
      "strb r10, [r5, r6]\n\t"
      "strb r8, [r5], #1\n\t"
      "ldr r1, %[stop]\n\t"
      "str r5, %[to]\n\t"
      "cmp r0, r1\n\t"
      "bne 1b\n\t"
      : [to] "+m"(to)
      : [stream] "m"(stream), [stop] "m"(stop), [map] "m"(map), [skip] "m"(skip),
        [third] "m"(to.third), [shift] "i"(TM_SHIFT)
#if TM_CLAMPED
        , [limits] "m"(limits)
#endif
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",
        "cc", "memory");
  target->first = to.first;
}
#undef TM_GEMM_PAIR
#undef TM_GEMM_SCALE
#undef TM_GEMM_RESCALE
#undef TM_GEMM_NARROW
#undef TM_GEMM_LIMITS
#endif

/* All channels of a group for the three pixels in `patch`. */
static inline void TM_INSTANCE(tm_gemm_channels)(const tm_conv2d_s8_params *p,
                                                 const int32_t *stream, const uint32_t *patch,
                                                 int32_t pairs, tm_gemm_target *to, int32_t first,
                                                 int32_t block, const int16_t **exceptions) {
  const int32_t words = 2 + 2 * pairs + 2 * TM_GEMM_RECORD;
  const int32_t blocks = (p->group_out + 1) / 2;
#if defined(TM_DSP_ASM)
  const int32_t whole = p->group_out / 2;
  if (*exceptions == NULL && whole == blocks) {
    TM_INSTANCE(tm_gemm_blocks)(p, stream, stream + whole * words, patch, pairs, to);
    return;
  }
#endif
  for (int32_t b = 0; b < blocks;) {
    const int32_t exceptional = *exceptions != NULL && **exceptions == block + b;
#if defined(TM_DSP_ASM)
    if (!exceptional && b < whole) {
      int32_t end = whole;
      if (*exceptions != NULL && **exceptions - block < end) {
        end = **exceptions - block;
      }
      TM_INSTANCE(tm_gemm_blocks)(p, stream, stream + (end - b) * words, patch, pairs, to);
      stream += (end - b) * words;
      b = end;
      continue;
    }
#endif
    stream = TM_INSTANCE(tm_gemm_block)(p, stream, patch, pairs, to, first + 2 * b, exceptional);
    *exceptions += exceptional;
    ++b;
  }
  (void)words;
}

static tm_status TM_INSTANCE(tm_conv2d_gemm_s8)(const tm_conv2d_s8_params *p, const tm_rows *in,
                                                const int32_t *weights, const int32_t *bias,
                                                const tm_rows *out, const tm_part *part,
                                                void *scratch) {
  const int32_t joined = p->dilation_w == 1 && p->group_in == p->in_c;
  const int32_t run = joined ? p->kernel_w * p->group_in : p->group_in;
  const int32_t runs = joined ? 1 : p->kernel_w; /* of a kernel row */
  const int32_t pairs = p->kernel_h * runs * ((run + 1) / 2);
  const int32_t blocks = (p->group_out + 1) / 2;
  const int32_t group_words = blocks * (2 + 2 * pairs + 2 * TM_GEMM_RECORD);
  const int32_t groups = p->in_c / p->group_in;
  const int32_t step = p->stride_w * p->in_c; /* from pixel to pixel */
  const int32_t reach = (p->kernel_w - 1) * p->dilation_w;
  uint32_t *const patch = (uint32_t *)scratch;
  int8_t *const spare = (int8_t *)(patch + 3 * pairs);
  int32_t left = (part->row1 - part->row0) * p->out_w;
  int32_t width = p->out_w;
  int32_t in_w = p->in_w;
  int32_t oy = part->row0;
  int32_t ox = 0;
  (void)bias;
  if (step == p->in_c && p->stride_h == 1 && p->kernel_h == 1 && p->kernel_w == 1 &&
      p->out_w == p->in_w && p->pad_top == 0 && in->ring == in->rows && out->ring == out->rows) {
    /* pixel by pixel: all rows are one */
    width = left;
    in_w = left;
  }
  while (left > 0) {
    const int32_t first_row = oy;
    const int32_t iy = oy * p->stride_h - p->pad_top;
    const int32_t whole_rows =
        iy >= 0 && iy + (p->kernel_h - 1) * p->dilation_h < in->rows && in->ring == in->rows;
    const int8_t *const row = (const int8_t *)in->base + iy * in->row_bytes;
    int8_t *const y = (int8_t *)tm_row_out(out, oy);
    /* blocks inside a row, then one that ends it and may begin the next */
    do {
      const int32_t ix = ox * p->stride_w - p->pad_left;
      const int32_t fast =
          whole_rows && ox + 3 <= width && ix >= 0 && ix + 2 * p->stride_w + reach < in_w;
      tm_gemm_target to = {y + ox * p->out_c, p->out_c, 2 * p->out_c};
      tm_gemm_origin at;
      const int16_t *exceptions = p->exceptions;
      if (fast) {
        ox += 3;
      } else {
        for (int32_t t = 0; t < 3; ++t) {
          int32_t distance = 0;
          at.iy[t] = iy;
          at.ix[t] = ix;
          if (t < left) {
            if (ox == width) {
              ox = 0;
              ++oy;
            }
            at.iy[t] = (oy + ox / p->out_w) * p->stride_h - p->pad_top;
            at.ix[t] = ox % p->out_w * p->stride_w - p->pad_left;
            distance = (int32_t)((int8_t *)tm_row_out(out, oy) - to.first) + ox * p->out_c;
            ++ox;
          }
          if (t == 1) {
            to.second = distance;
          } else if (t == 2) {
            to.third = distance;
          }
        }
      }
      for (int32_t g = 0; g < groups; ++g) {
        tm_gemm_target next = to;
        next.first += g * p->group_out;
        if (fast) {
          const int8_t *x = row + ix * p->in_c + g * p->group_in;
          uint32_t *end = patch;
          for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
            const int8_t *tap = x;
            for (int32_t kx = 0; kx < runs; ++kx) {
              end = tm_gemm_widen(tap, tap + step, tap + 2 * step, run, end);
              tap += p->dilation_w * p->in_c;
            }
            x += p->dilation_h * in->row_bytes;
          }
        } else {
          tm_gemm_edge(p, in, &at, g * p->group_in, patch, spare);
        }
        TM_INSTANCE(tm_gemm_channels)(p, weights + g * group_words, patch, pairs, &next,
                                      g * p->group_out, g * blocks, &exceptions);
      }
      left -= 3;
    } while (left > 0 && ox < width && oy == first_row);
    if (ox >= width) {
      ox = 0;
      ++oy;
    }
  }
  return TM_OK;
}

#undef TM_GEMM_RECORD
