/* Convolution as a matrix product on cores with SMLAD, any shape: the patches of three output
 * pixels are widened to 16 bits side by side in scratch, then two channels by three pixels are
 * summed in registers (8 instructions for 12 products).
 *
 * Compiled once for each set of: TM_PAIRS (pairs of taps, if few; 0: any number), TM_WIDE (weights
 * are widened to 16 bits at compile time: twice their flash, a quarter less time), TM_SHIFT (the
 * rescaling's common shift: right where wide, else left), TM_SIGNED (records have a correction of
 * negative sums), TM_CLAMPED (the clamp is narrower than int8).
 *
 * Weights are int32 words; for each two channels of a group: their biases (wide: three times,
 * for the three pixels); the words of either
 * channel for each pair of taps (layout "gemm_2x3_wide": two weights of 16 bits, scaled by a
 * power of two) or for each four taps (layout "gemm_2x3_narrow": four weights of 8 bits); their
 * rescaling records: wide {multiplier, offset[, correction]}, narrow {nudge, down, multiplier,
 * offset[, correction]}. Patches: for each pair of taps the words of the three pixels. Taps of
 * a kernel row that lie side by side are a run, in the order in which SXTB16 widens it: (0, 2),
 * (1, 3), ...; the rest of it where wide (0, 1), (2, none), else (0, 2), (1, none).
 *
 * With TM_VARIED the bias is an array in RAM: there are no biases in the stream, sums start from
 * those that tm_prepare_biases makes at the beginning of a call. With TM_PLAIN (bytes of a
 * channel's weights, whose runs are whole words) so are the weights, OHWI; p->records are the
 * records, narrow.
 *
 * Scratch: 12 bytes for each pair of taps, then three runs of bytes; with TM_VARIED before them a
 * word for each channel, those of a group filled up to pairs. */
#include <stddef.h>
#include <string.h>

#include "tm_conv2d.h"
#include "tm_dsp.h"
#include "tm_rescale.h"

#ifndef TM_VARIED
#define TM_VARIED 0
#endif
#ifndef TM_PLAIN
#define TM_PLAIN 0
#endif

#ifndef TM_CONV2D_GEMM_ONCE
#define TM_CONV2D_GEMM_ONCE

enum { TM_GEMM_UNROLL = 8 };

/* clang-format off */
/* Four bytes of the runs of three pixels. */
#define TM_GEMM_FOUR_BYTES                     \
  "ldr r8, [%[p0]], #4\n\t"                    \
  "ldr r9, [%[p1]], #4\n\t"                    \
  "ldr r10, [%[p2]], #4\n\t"                   \
  "sxtb16 r4, r8\n\t"                          \
  "sxtb16 r5, r9\n\t"                          \
  "sxtb16 r6, r10\n\t"                         \
  "sxtb16 r8, r8, ror #8\n\t"                  \
  "sxtb16 r9, r9, ror #8\n\t"                  \
  "sxtb16 r10, r10, ror #8\n\t"                \
  "stm %[to]!, {r4, r5, r6, r8, r9, r10}\n\t"
/* clang-format on */

/* Widens four bytes at a time of the runs at p0, p1, p2 into words of the three pixels; returns
 * the end of what it wrote. */
static TM_INLINE uint32_t *tm_gemm_widen(const int8_t *p0, const int8_t *p1, const int8_t *p2,
                                         int32_t quads, uint32_t *to) {
#if defined(TM_DSP_ASM)
  if (quads & 1) {
    __asm__ volatile(TM_GEMM_FOUR_BYTES
                     : [p0] "+&r"(p0), [p1] "+&r"(p1), [p2] "+&r"(p2), [to] "+&r"(to)
                     :
                     : "r4", "r5", "r6", "r8", "r9", "r10", "memory");
    --quads;
  }
  if (quads != 0) {
    const int8_t *end = p0 + 4 * quads;
    __asm__ volatile("1:\n\t" TM_GEMM_FOUR_BYTES TM_GEMM_FOUR_BYTES
                     "cmp %[p0], %[end]\n\t"
                     "bne 1b\n\t"
                     : [p0] "+&r"(p0), [p1] "+&r"(p1), [p2] "+&r"(p2), [to] "+&r"(to)
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
  return to;
}

/* Widens what the runs have beyond that. A half they have not got meets a weight of 0. */
static TM_NOINLINE uint32_t *tm_gemm_widen_rest(const int8_t *p0, const int8_t *p1,
                                                const int8_t *p2, int32_t length, int32_t wide,
                                                uint32_t *to) {
  const int32_t rest = length & 3;
  p0 += length - rest;
  p1 += length - rest;
  p2 += length - rest;
  if (wide) {
    if (rest >= 2) {
      to[0] = tm_pack16(p0[0], p0[1]);
      to[1] = tm_pack16(p1[0], p1[1]);
      to[2] = tm_pack16(p2[0], p2[1]);
      to += 3;
    }
    if (rest & 1) {
      to[0] = (uint32_t)p0[rest - 1];
      to[1] = (uint32_t)p1[rest - 1];
      to[2] = (uint32_t)p2[rest - 1];
      to += 3;
    }
    return to;
  }
  to[0] = tm_pack16(p0[0], rest == 3 ? p0[2] : 0);
  to[1] = tm_pack16(p1[0], rest == 3 ? p1[2] : 0);
  to[2] = tm_pack16(p2[0], rest == 3 ? p2[2] : 0);
  to[3] = rest >= 2 ? (uint32_t)p0[1] : 0u;
  to[4] = rest >= 2 ? (uint32_t)p1[1] : 0u;
  to[5] = rest >= 2 ? (uint32_t)p2[1] : 0u;
  return to + 6;
}

/* `count` runs of three pixels that lie `step` bytes apart; from run to run it is `stride`. */
static TM_NOINLINE uint32_t *tm_gemm_fill(const int8_t *x, int32_t step, int32_t stride,
                                          int32_t count, int32_t length, int32_t wide,
                                          uint32_t *to) {
  const int32_t quads = length >> 2;
  do {
    to = tm_gemm_widen(x, x + step, x + 2 * step, quads, to);
    if (length & 3) {
      to = tm_gemm_widen_rest(x, x + step, x + 2 * step, length, wide, to);
    }
    x += stride;
  } while (--count != 0);
  return to;
}

/* The patches of three pixels at x, the rows of the kernel but for the first `taps` behind the
 * ring's end. */
static TM_NOINLINE void tm_gemm_ring(const tm_conv2d_s8_params *p, const tm_rows *in,
                                     const int8_t *x, int32_t taps, int32_t joined, int32_t wide,
                                     uint32_t *to) {
  const int32_t step = p->stride_w * p->in_c;
  const int32_t pitch = p->dilation_h * in->row_bytes;
  const int32_t back = in->ring * in->row_bytes;
  if (joined) {
    const int32_t run = p->kernel_w * p->group_in;
    to = tm_gemm_fill(x, step, pitch, taps, run, wide, to);
    tm_gemm_fill(x + (taps * pitch - back), step, pitch, p->kernel_h - taps, run, wide, to);
    return;
  }
  for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
    to = tm_gemm_fill(x + (ky < taps ? ky * pitch : ky * pitch - back), step,
                      p->dilation_w * p->in_c, p->kernel_w, p->group_in, wide, to);
  }
}

/* One run of three pixels anywhere. */
static TM_NOINLINE uint32_t *tm_gemm_fill_one(const int8_t *p0, const int8_t *p1, const int8_t *p2,
                                              int32_t length, int32_t wide, uint32_t *to) {
  to = tm_gemm_widen(p0, p1, p2, length >> 2, to);
  return length & 3 ? tm_gemm_widen_rest(p0, p1, p2, length, wide, to) : to;
}

/* Where the next channel of the three pixels goes: the first's address, distances of the others
 * (0 where there is none: the first is written last). */
typedef struct {
  int8_t *first;
  int32_t second, third;
} tm_gemm_target;

/* Rescales the sum of channel o by the definition. */
static inline int8_t tm_gemm_define(const tm_conv2d_s8_params *p, uint32_t acc, int32_t o) {
  const int32_t y = tm_rescale((int32_t)acc, p->multiplier, p->shift, p->scale, o);
  return (int8_t)tm_clamp(y + p->out_zero, p->lo, p->hi);
}

/* What the blocks of a call share with the assembly. */
typedef struct {
  const int32_t *weights, *stop;
  const int32_t *bias, *records; /* of the next block, where they are not in the stream */
  struct {
    const uint32_t *first, *end;
  } patch;
  tm_gemm_target to;
  int32_t skip; /* bytes of code by which the first pass through the unrolled loop enters late */
  struct {
    int32_t lo, hi;
  } limits;
} tm_gemm_job;

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

/* One kernel row of a pixel: in place where it lies inside the map, else copied to `spare`. */
static const int8_t *tm_gemm_run(const tm_conv2d_s8_params *p, const tm_rows *in, int32_t iy,
                                 int32_t ix, int8_t *spare) {
  const int8_t *row = (const int8_t *)tm_row(in, iy);
  const int8_t *const pad = (const int8_t *)in->pad;
  const int32_t depth = p->group_in;
  int8_t *to = spare;
  if (row == pad && p->kernel_w <= p->in_w) {
    return pad; /* one value throughout */
  }
  if (ix >= 0 && ix + p->kernel_w <= p->in_w) {
    return row + ix * depth;
  }
  for (int32_t k = 0; k < p->kernel_w; ++k, ++ix) {
    const int8_t *from = ix < 0 || ix >= p->in_w ? pad : row + ix * depth;
    for (int32_t i = 0; i < depth; ++i) {
      *to++ = from[i];
    }
  }
  return spare;
}

/* How many of `rows` rows from y on lie one behind the other. */
static inline int32_t tm_gemm_before_end(const tm_rows *map, int32_t y, int32_t rows) {
  const int32_t most = map->ring - y % map->ring;
  return rows < most ? rows : most;
}

/* The patches of pixels that may reach beyond the map. */
static TM_NOINLINE void tm_gemm_edge(const tm_conv2d_s8_params *p, const tm_rows *in,
                                     const tm_gemm_origin *at, int32_t offset, int32_t wide,
                                     uint32_t *to, int8_t *spare) {
  const int32_t joined = p->dilation_w == 1 && p->group_in == p->in_c;
  const int32_t run = p->kernel_w * p->group_in;
  const int32_t most = p->in_w - p->kernel_w;
  const int32_t inside = at->ix[0] >= 0 && at->ix[0] <= most && at->ix[1] >= 0 &&
                         at->ix[1] <= most && at->ix[2] >= 0 && at->ix[2] <= most;
  for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
    const int32_t dy = ky * p->dilation_h;
    if (joined && (inside || p->group_in % 4 != 0)) {
      /* nothing is copied, or the quads of a run span taps */
      const int8_t *x[3];
      for (int32_t t = 0; t < 3; ++t) {
        x[t] = tm_gemm_run(p, in, at->iy[t] + dy, at->ix[t], spare + t * run);
      }
      to = tm_gemm_fill_one(x[0], x[1], x[2], run, wide, to);
      continue;
    }
    for (int32_t kx = 0; kx < p->kernel_w; ++kx) {
      const int32_t dx = kx * p->dilation_w;
      to = tm_gemm_fill_one(tm_gemm_tap(p, in, at->iy[0] + dy, at->ix[0] + dx, offset),
                            tm_gemm_tap(p, in, at->iy[1] + dy, at->ix[1] + dx, offset),
                            tm_gemm_tap(p, in, at->iy[2] + dy, at->ix[2] + dx, offset), p->group_in,
                            wide, to);
    }
  }
}

#endif

/* Words of a rescaling record. */
#define TM_GEMM_RECORD ((TM_WIDE ? 2 : 4) + TM_SIGNED)
/* Pairs of taps of a run, in words of patches, and words of weights for them. */
#define TM_GEMM_PAIRS(run) (TM_WIDE ? ((run) + 1) / 2 : ((run) + 3) / 4 * 2)
/* Bytes of code, or whether it is the middle, at which the unrolled loop is entered late. */
#define TM_GEMM_SKIP(pairs) (TM_WIDE ? 32 * (-(pairs) & (TM_GEMM_UNROLL - 1)) : (pairs) & 2)
#define TM_GEMM_BIASES (TM_VARIED ? 0 : (TM_WIDE ? 6 : 2))
#if TM_PLAIN
#define TM_GEMM_WORDS(pairs) (2 * TM_GEMM_RECORD)
#define TM_GEMM_WEIGHT int8_t
#else
#define TM_GEMM_WORDS(pairs) (TM_GEMM_BIASES + (TM_WIDE ? 2 : 1) * (pairs) + 2 * TM_GEMM_RECORD)
#define TM_GEMM_WEIGHT int32_t
#endif

#if defined(TM_DSP_ASM)
/* clang-format off */
#define TM_GEMM_PRODUCTS(w, first, second, third) \
  "smlad " first ", r2, " w ", " first "\n\t"           \
  "smlad " second ", r3, " w ", " second "\n\t"         \
  "smlad " third ", r4, " w ", " third "\n\t"
#if TM_VARIED
#define TM_GEMM_START          \
  "ldr r2, %[bias]\n\t"        \
  "ldrd r7, r8, [r2], #8\n\t"  \
  "str r2, %[bias]\n\t"        \
  TM_GEMM_THRICE
#elif TM_WIDE
#define TM_GEMM_START "ldm r0!, {r7, r8, r9, r10, r11, r12}\n\t"
#else
#define TM_GEMM_START          \
  "ldrd r7, r8, [r0], #8\n\t"  \
  TM_GEMM_THRICE
#endif
#define TM_GEMM_THRICE \
  "mov r9, r7\n\t"     \
  "mov r10, r8\n\t"    \
  "mov r11, r7\n\t"    \
  "mov r12, r8\n\t"
#if TM_WIDE
/* 32 bytes of code each: the entry into the loop is computed */
#define TM_GEMM_STEP                            \
  "ldm.w r1!, {r2, r3, r4}\n\t"                 \
  "ldrd r5, r6, [r0], #8\n\t"                   \
  TM_GEMM_PRODUCTS("r5", "r7", "r9", "r11")  \
  TM_GEMM_PRODUCTS("r6", "r8", "r10", "r12")
#define TM_GEMM_ANY                                       \
  TM_GEMM_START                                           \
  "ldr r2, %[skip]\n\t"                                   \
  ".balign 4\n\t"                                         \
  "add pc, r2\n\t"                                        \
  "nop\n"                                                 \
  "2:\n\t"                                                \
  TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP     \
  TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP     \
  "cmp r1, lr\n\t"                                        \
  "bne 2b\n\t"
#if TM_PAIRS == 0
#define TM_GEMM_LOOP TM_GEMM_ANY
#else
#if TM_PAIRS & 1
#define TM_GEMM_ONE TM_GEMM_STEP
#else
#define TM_GEMM_ONE
#endif
#if TM_PAIRS & 2
#define TM_GEMM_TWO TM_GEMM_STEP TM_GEMM_STEP
#else
#define TM_GEMM_TWO
#endif
#if TM_PAIRS & 4
#define TM_GEMM_FOUR TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP
#else
#define TM_GEMM_FOUR
#endif
#if TM_PAIRS & 8
#define TM_GEMM_EIGHT                                  \
  TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP  \
  TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP TM_GEMM_STEP
#else
#define TM_GEMM_EIGHT
#endif
#define TM_GEMM_LOOP \
  TM_GEMM_START      \
  TM_GEMM_ONE TM_GEMM_TWO TM_GEMM_FOUR TM_GEMM_EIGHT
#endif
#else
#define TM_GEMM_HALF(how)                         \
  "ldm r1!, {r2, r3, r4}\n\t"                     \
  "sxtb16 lr, r5" how "\n\t"                      \
  TM_GEMM_PRODUCTS("lr", "r7", "r9", "r11")    \
  "sxtb16 lr, r6" how "\n\t"                      \
  TM_GEMM_PRODUCTS("lr", "r8", "r10", "r12")
#if TM_PLAIN
#define TM_GEMM_LOAD              \
  "ldr r6, [r0, %[depth]]\n\t"    \
  "ldr r5, [r0], #4\n\t"
#else
#define TM_GEMM_LOAD "ldrd r5, r6, [r0], #8\n\t"
#endif
#define TM_GEMM_STEP          \
  TM_GEMM_LOAD                \
  TM_GEMM_HALF("")            \
  TM_GEMM_HALF(", ror #8")
/* an odd number of quads enters at the second half of the loop */
#define TM_GEMM_LOOP TM_GEMM_ANY
#define TM_GEMM_ANY             \
  TM_GEMM_START                 \
  "ldr r2, %[skip]\n\t"         \
  "cmp r2, #0\n\t"              \
  "bne 3f\n"                    \
  "2:\n\t"                      \
  TM_GEMM_STEP                  \
  "3:\n\t"                      \
  TM_GEMM_STEP                  \
  "ldr lr, %[end]\n\t"          \
  "cmp r1, lr\n\t"              \
  "bne 2b\n\t"
#endif
/* clang-format on */
#endif

#undef TM_GEMM_SUMS
#if TM_PLAIN
#define TM_GEMM_SUMS TM_INSTANCE(tm_gemm_sums)
#elif TM_WIDE && TM_VARIED
#define TM_GEMM_SUMS tm_gemm_sums_wide_varied
#elif TM_WIDE
#define TM_GEMM_SUMS tm_gemm_sums_wide
#elif TM_VARIED
#define TM_GEMM_SUMS tm_gemm_sums_narrow_varied
#else
#define TM_GEMM_SUMS tm_gemm_sums_narrow
#endif
#if TM_PLAIN || (TM_WIDE && TM_VARIED && !defined(TM_GEMM_WIDE_VARIED_ONCE)) || \
    (TM_WIDE && !TM_VARIED && !defined(TM_GEMM_WIDE_ONCE)) ||                   \
    (!TM_WIDE && TM_VARIED && !defined(TM_GEMM_NARROW_VARIED_ONCE)) ||          \
    (!TM_WIDE && !TM_VARIED && !defined(TM_GEMM_NARROW_ONCE))
#if TM_PLAIN
#elif TM_WIDE && TM_VARIED
#define TM_GEMM_WIDE_VARIED_ONCE
#elif TM_WIDE
#define TM_GEMM_WIDE_ONCE
#elif TM_VARIED
#define TM_GEMM_NARROW_VARIED_ONCE
#else
#define TM_GEMM_NARROW_ONCE
#endif
/* Sums of two channels and three pixels: [pixel][channel]. Returns their records. */
static TM_NOINLINE const int32_t *TM_GEMM_SUMS(const tm_gemm_job *from, int32_t pairs,
                                               uint32_t acc[3][2]) {
#if defined(TM_DSP_ASM)
  tm_gemm_job job;
  struct {
    uint32_t sums[6];
  } found;
  job.weights = from->weights;
  job.bias = from->bias;
  job.patch.first = from->patch.first;
  job.patch.end = from->patch.first + 3 * pairs;
  job.skip = TM_GEMM_SKIP(pairs);
  /* clang-format off */
  __asm__ volatile(
      "ldr r0, %[stream]\n\t"
      "ldrd r1, lr, %[map]\n\t"
      TM_GEMM_ANY
      "strd r7, r8, %[found]\n\t"
      "strd r9, r10, %[second]\n\t"
      "strd r11, r12, %[third]\n\t"
      "str r0, %[stream]\n\t"
      : [found] "=m"(found.sums[0]), [second] "=m"(found.sums[2]), [third] "=m"(found.sums[4]),
        [stream] "+m"(job.weights), [bias] "+m"(job.bias)
      : [map] "m"(job.patch), [end] "m"(job.patch.end), [skip] "m"(job.skip),
        [depth] "i"(TM_PLAIN)
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",
        "cc", "memory");
  /* clang-format on */
  memcpy(acc, found.sums, sizeof found.sums);
  return TM_PLAIN ? from->records : job.weights;
#elif TM_PLAIN
  const int8_t *w = (const int8_t *)from->weights;
  const uint32_t *patch = from->patch.first;
  for (int32_t t = 0; t < 3; ++t) {
    acc[t][0] = (uint32_t)from->bias[0];
    acc[t][1] = (uint32_t)from->bias[1];
  }
  for (int32_t i = 0; i < pairs; i += 2, w += 4, patch += 6) {
    for (int32_t c = 0; c < 2; ++c) {
      const uint32_t word = tm_load4(w + c * TM_PLAIN);
      for (int32_t t = 0; t < 3; ++t) {
        acc[t][c] = tm_smlad(patch[t], tm_sxtb16(word), acc[t][c]);
        acc[t][c] = tm_smlad(patch[3 + t], tm_sxtb16_ror8(word), acc[t][c]);
      }
    }
  }
  return from->records;
#else
  const int32_t *stream = from->weights;
  const uint32_t *patch = from->patch.first;
  const int32_t *const bias = TM_VARIED ? from->bias : stream;
  for (int32_t t = 0; t < 3; ++t) {
    acc[t][0] = (uint32_t)bias[0];
    acc[t][1] = (uint32_t)bias[1];
  }
  stream += TM_GEMM_BIASES;
  for (int32_t i = 0; i < pairs; ++i) {
    for (int32_t c = 0; c < 2; ++c) {
      uint32_t w = (uint32_t)stream[c];
#if !TM_WIDE
      w = i & 1 ? tm_sxtb16_ror8(w) : tm_sxtb16(w);
#endif
      for (int32_t t = 0; t < 3; ++t) {
        acc[t][c] = tm_smlad(patch[t], w, acc[t][c]);
      }
    }
    patch += 3;
    stream += TM_WIDE || (i & 1) ? 2 : 0;
  }
  return stream;
#endif
}
#endif

/* Rescales a sum by a record, in C. */
static inline int8_t TM_INSTANCE(tm_gemm_rescale)(const tm_conv2d_s8_params *p, uint32_t acc,
                                                  const int32_t *record) {
#if TM_WIDE
  const int32_t sum = (int32_t)acc;
  const int32_t down = TM_SHIFT;
#else
  const int32_t sum = (int32_t)((acc << TM_SHIFT) + (uint32_t)record[0]);
  const int32_t down = record[1];
  record += 2;
#endif
  int32_t y = tm_smmla(sum, record[0], record[1]);
#if TM_SIGNED
  y -= sum < 0 ? record[2] : 0;
#endif
  y = tm_clamp(y >> down, -128, 127);
#if TM_CLAMPED
  y = tm_clamp(y, p->lo, p->hi);
#else
  (void)p;
#endif
  return (int8_t)y;
}

/* Channels [c0, c1) of the block of two that begins at channel o, three pixels, in C: for blocks
 * that are not asked for whole or are rescaled by the definition, and for compilers without the
 * assembly. */
static TM_NOINLINE void TM_INSTANCE(tm_gemm_block)(const tm_conv2d_s8_params *p, tm_gemm_job *job,
                                                   int32_t pairs, int32_t o, int32_t c0, int32_t c1,
                                                   int32_t exceptional) {
  tm_gemm_target *const to = &job->to;
  const int32_t at[3] = {0, to->second, to->third};
  uint32_t acc[3][2];
  const int32_t *const stream = TM_GEMM_SUMS(job, pairs, acc);
  for (int32_t c = c0; c < c1; ++c) {
    const int32_t *const record = stream + TM_GEMM_RECORD * c;
    for (int32_t t = 2; t >= 0; --t) {
      const int32_t y = exceptional ? tm_gemm_define(p, acc[t][c], o + c)
                                    : TM_INSTANCE(tm_gemm_rescale)(p, acc[t][c], record);
      to->first[c + at[t]] = (int8_t)y;
    }
  }
  to->first += 2;
}

#if defined(TM_DSP_ASM)
/* clang-format off */
/* TM_GEMM_SCALE: sums into shifted outputs; r1 multiplier, r2 offset, r3 correction, r5 nudge */
#if TM_WIDE
#define TM_GEMM_UP(acc)
#define TM_GEMM_LOAD_UP
#else
#define TM_GEMM_UP(acc) "add " acc ", r5, " acc ", lsl %[shift]\n\t"
#define TM_GEMM_LOAD_UP "ldrd r5, r6, [r0], #8\n\t"
#endif
#if TM_SIGNED
#define TM_GEMM_LOAD_RECORD TM_GEMM_LOAD_UP "ldm r0!, {r1, r2, r3}\n\t"
#define TM_GEMM_SCALE(acc)             \
  TM_GEMM_UP(acc)                      \
  "and r4, r3, " acc ", asr #31\n\t"   \
  "smmla " acc ", " acc ", r1, r2\n\t" \
  "sub " acc ", " acc ", r4\n\t"       \
  TM_GEMM_DOWN(acc)
#else
#define TM_GEMM_LOAD_RECORD TM_GEMM_LOAD_UP "ldrd r1, r2, [r0], #8\n\t"
#define TM_GEMM_SCALE(acc)             \
  TM_GEMM_UP(acc)                      \
  "smmla " acc ", " acc ", r1, r2\n\t" \
  TM_GEMM_DOWN(acc)
#endif
#if TM_WIDE
#define TM_GEMM_DOWN(acc) "ssat " acc ", #8, " acc ", asr %[shift]\n\t"
#else
#define TM_GEMM_DOWN(acc) "asr " acc ", " acc ", r6\n\t ssat " acc ", #8, " acc "\n\t"
#endif
#define TM_GEMM_RESCALE                                       \
  TM_GEMM_LOAD_RECORD                                         \
  TM_GEMM_SCALE("r7") TM_GEMM_SCALE("r9") TM_GEMM_SCALE("r11") \
  TM_GEMM_LOAD_RECORD                                         \
  TM_GEMM_SCALE("r8") TM_GEMM_SCALE("r10") TM_GEMM_SCALE("r12")
#if TM_CLAMPED
#define TM_GEMM_LIMIT(acc)                              \
  "cmp " acc ", r1\n\t it lt\n\t movlt " acc ", r1\n\t" \
  "cmp " acc ", r2\n\t it gt\n\t movgt " acc ", r2\n\t"
#define TM_GEMM_CLAMP                                                  \
  "ldrd r1, r2, %[limits]\n\t"                                         \
  TM_GEMM_LIMIT("r7") TM_GEMM_LIMIT("r8") TM_GEMM_LIMIT("r9")          \
  TM_GEMM_LIMIT("r10") TM_GEMM_LIMIT("r11") TM_GEMM_LIMIT("r12")
#else
#define TM_GEMM_CLAMP
#endif
/* clang-format on */

#if TM_PLAIN
#define TM_GEMM_FIRST
#define TM_GEMM_WEIGHTS "ldr r0, %[stream]\n\t"
#define TM_GEMM_RECORDS       \
  "addw r0, r0, %[depth]\n\t" \
  "str r0, %[stream]\n\t"     \
  "ldr r0, %[records]\n\t"
#define TM_GEMM_NEXT "str r0, %[records]\n\t"
#else
#define TM_GEMM_FIRST "ldr r0, %[stream]\n"
#define TM_GEMM_WEIGHTS
#define TM_GEMM_RECORDS
#define TM_GEMM_NEXT
#endif

/* Blocks of two channels and three pixels from `weights` (TM_PLAIN: `records`) until `stop`. All
 * registers are in use inside: the job has to lie on the caller's stack. */
static TM_INLINE void TM_INSTANCE(tm_gemm_blocks)(tm_gemm_job *job) {
  /* clang-format off */
  __asm__ volatile(
      TM_GEMM_FIRST
      "1:\n\t"
      TM_GEMM_WEIGHTS
      "ldrd r1, lr, %[map]\n\t"
      TM_GEMM_LOOP
      TM_GEMM_RECORDS
      TM_GEMM_RESCALE
      TM_GEMM_NEXT
      TM_GEMM_CLAMP
      "ldrd r5, r6, %[to]\n\t"
      "ldr lr, %[third]\n\t"
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
      : [to] "+m"(job->to), [stream] "+m"(job->weights), [bias] "+m"(job->bias),
        [records] "+m"(job->records)
      : [stop] "m"(job->stop), [map] "m"(job->patch), [depth] "i"(TM_PLAIN),
        [end] "m"(job->patch.end), [skip] "m"(job->skip), [third] "m"(job->to.third),
        [limits] "m"(job->limits), [shift] "i"(TM_SHIFT)
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",
        "cc", "memory");
  /* clang-format on */
}
#undef TM_GEMM_FIRST
#undef TM_GEMM_WEIGHTS
#undef TM_GEMM_RECORDS
#undef TM_GEMM_NEXT
#undef TM_GEMM_START
#undef TM_GEMM_THRICE
#undef TM_GEMM_LOAD
#undef TM_GEMM_PRODUCTS
#undef TM_GEMM_HALF
#undef TM_GEMM_STEP
#undef TM_GEMM_LOOP
#undef TM_GEMM_ANY
#undef TM_GEMM_ONE
#undef TM_GEMM_TWO
#undef TM_GEMM_FOUR
#undef TM_GEMM_EIGHT
#undef TM_GEMM_UP
#undef TM_GEMM_DOWN
#undef TM_GEMM_LOAD_UP
#undef TM_GEMM_LOAD_RECORD
#undef TM_GEMM_SCALE
#undef TM_GEMM_RESCALE
#undef TM_GEMM_LIMIT
#undef TM_GEMM_CLAMP
#define TM_GEMM_IN_C 0
#else
#define TM_GEMM_IN_C 1
#endif

static TM_NOINLINE tm_status TM_INSTANCE(tm_conv2d_gemm_s8)(const tm_conv2d_s8_params *p,
                                                            const tm_rows *in,
                                                            const TM_GEMM_WEIGHT *weights,
                                                            const int32_t *bias, const tm_rows *out,
                                                            const tm_part *part, void *scratch) {
  const int32_t joined = p->dilation_w == 1 && p->group_in == p->in_c;
  const int32_t run = joined ? p->kernel_w * p->group_in : p->group_in;
  const int32_t runs = p->kernel_h * (joined ? 1 : p->kernel_w);
  const int32_t pairs = runs * TM_GEMM_PAIRS(run);
  const int32_t words = TM_GEMM_WORDS(pairs);
  const int32_t blocks = (p->group_out + 1) / 2;
  const int32_t groups = p->in_c / p->group_in;
  const int32_t step = p->stride_w * p->in_c; /* from pixel to pixel */
  const int32_t reach = (p->kernel_w - 1) * p->dilation_w;
  /* all channels in one go */
  const int32_t plain = !TM_GEMM_IN_C && p->exceptions == NULL && groups == 1 &&
                        part->channel0 == 0 && part->channel1 == p->out_c && p->out_c % 2 == 0;
#if TM_VARIED
  int32_t *const biases = (int32_t *)scratch;
  uint32_t *const patch = (uint32_t *)scratch + 2 * groups * blocks;
#else
  uint32_t *const patch = (uint32_t *)scratch;
#endif
#if TM_PLAIN
  const int32_t *const stream = p->records;
#else
  const int32_t *const stream = weights;
#endif
  int8_t *const spare = (int8_t *)(patch + 3 * pairs);
  tm_gemm_job job;
  /* pixel by pixel: rows that lie one behind the other are one (groups: see below) */
  const int32_t merged =
      groups == 1 && step == p->in_c && p->stride_h == 1 && p->kernel_h == 1 && p->kernel_w == 1 &&
      p->out_w == p->in_w && p->pad_top == 0 && p->pad_left == 0 && part->row1 <= in->rows &&
      in->row_bytes == p->in_w * p->in_c && out->row_bytes == p->out_w * p->out_c;
  /* what of the views is constant the compiler knows until the first assembly only */
  const int8_t *const base = (const int8_t *)in->base;
  const int32_t rings = in->ring != in->rows || out->ring != out->rows;
  const int32_t ring = in->ring != in->rows ? in->ring : 0;
  const int32_t in_rows = in->rows;
  const int32_t row_bytes = in->row_bytes;
#if TM_VARIED
  for (int32_t g = 0; g < groups; ++g) {
    const int32_t first = g * p->group_out;
    const int32_t end = first + p->group_out;
    tm_prepare_biases(
        p->bias_terms, bias, part->channel0 > first ? part->channel0 : first,
        part->channel1 < end ? part->channel1 : end,
        biases + 2 * g * blocks + (part->channel0 > first ? part->channel0 - first : 0));
  }
#else
  (void)bias;
#endif
  job.weights = stream;
  job.bias = NULL;
  job.records = NULL;
  job.stop = stream + blocks * words;
  job.patch.first = patch;
  job.patch.end = patch + 3 * pairs;
  job.skip = TM_GEMM_SKIP(pairs);
  job.limits.lo = p->lo;
  job.limits.hi = p->hi;
  for (int32_t start = part->row0, rows; start < part->row1; start += rows) {
    rows = part->row1 - start;
    if (merged && rings) {
      rows = tm_gemm_before_end(in, start, tm_gemm_before_end(out, start, rows));
    }
    int32_t left = rows * p->out_w;
    const int32_t width = merged ? left : p->out_w;
    const int32_t in_w = merged ? left : p->in_w;
    int32_t oy = start;
    int32_t ox = 0;
    while (left > 0) {
      const int32_t first_row = oy;
      const int32_t iy = oy * p->stride_h - p->pad_top;
      const int32_t whole_rows = iy >= 0 && iy + (p->kernel_h - 1) * p->dilation_h < in_rows;
      int32_t slot = iy;
      int32_t taps = 0; /* rows of the kernel before the ring's end, if it lies between them */
      if (ring != 0 && whole_rows) {
        slot = iy % ring;
        if (slot + (p->kernel_h - 1) * p->dilation_h >= ring) {
          taps = (ring - slot + p->dilation_h - 1) / p->dilation_h;
        }
      }
      const int8_t *const row = base + slot * row_bytes;
      int8_t *const y = (int8_t *)tm_row_out(out, oy);
      /* blocks inside the row, then one that ends it and may begin the next */
      do {
        const int32_t ix = ox * p->stride_w - p->pad_left;
        const int32_t fast =
            whole_rows && ox + 3 <= width && ix >= 0 && ix + 2 * p->stride_w + reach < in_w;
        tm_gemm_target to = {y + ox * p->out_c, p->out_c, 2 * p->out_c};
        tm_gemm_origin at = {{0}, {0}};
        if (fast) {
          ox += 3;
          left -= 3;
        } else {
          const int32_t most = left;
          for (int32_t t = 0; t < 3; ++t) {
            int32_t distance = 0;
            at.iy[t] = at.iy[0];
            at.ix[t] = at.ix[0];
            /* a group may not write the next row before all have read for this one */
            if (t < most && (ox < width || groups == 1)) {
              if (ox == width) {
                ox = 0;
                ++oy;
              }
              at.iy[t] = (oy + ox / p->out_w) * p->stride_h - p->pad_top;
              at.ix[t] = ox % p->out_w * p->stride_w - p->pad_left;
              distance = (int32_t)((int8_t *)tm_row_out(out, oy) - to.first) + ox * p->out_c;
              ++ox;
              --left;
            }
            if (t == 1) {
              to.second = distance;
            } else if (t == 2) {
              to.third = distance;
            }
          }
        }
        for (int32_t g = 0; g < groups; ++g) {
          const int32_t offset = g * p->group_in;
          const int8_t *x = row + ix * p->in_c + offset;
          if (!fast) {
            tm_gemm_edge(p, in, &at, offset, TM_WIDE, patch, spare);
          } else if (taps != 0) {
            tm_gemm_ring(p, in, x, taps, joined, TM_WIDE, patch);
          } else if (joined) {
            tm_gemm_fill(x, step, p->dilation_h * row_bytes, p->kernel_h, run, TM_WIDE, patch);
          } else {
            uint32_t *end = patch;
            for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
              end = tm_gemm_fill(x, step, p->dilation_w * p->in_c, p->kernel_w, run, TM_WIDE, end);
              x += p->dilation_h * row_bytes;
            }
          }
          job.to = to;
          const int32_t first = g * p->group_out;
          const int16_t *exceptions = p->exceptions;
          int32_t lo = 0;
          int32_t hi = p->group_out;
          int32_t b = 0;
          if (!plain) {
            lo = part->channel0 > first ? part->channel0 - first : 0;
            hi = part->channel1 - first < hi ? part->channel1 - first : hi;
            b = lo / 2;
            job.to.first += first + 2 * b;
            while (exceptions != NULL && *exceptions < g * blocks + b) {
              ++exceptions;
            }
          }
          while (2 * b < hi) {
            int32_t end = hi / 2;
#if TM_VARIED
            job.bias = biases + 2 * (g * blocks + b);
#endif
#if TM_PLAIN
            job.weights = (const int32_t *)(const void *)(weights + (first + 2 * b) * TM_PLAIN);
            job.records = stream + (g * blocks + b) * words;
#endif
            if (!plain) {
              const int32_t exceptional = exceptions != NULL && *exceptions == g * blocks + b;
              const int32_t c0 = 2 * b < lo ? 1 : 0;
              const int32_t c1 = 2 * b + 2 > hi ? 1 : 2;
#if !TM_PLAIN
              job.weights = stream + (g * blocks + b) * words;
#endif
              if (TM_GEMM_IN_C || exceptional || c0 != 0 || c1 != 2) {
                TM_INSTANCE(tm_gemm_block)(p, &job, pairs, first + 2 * b, c0, c1, exceptional);
                if (exceptional) {
                  ++exceptions;
                }
                ++b;
                continue;
              }
              if (exceptions != NULL && *exceptions - g * blocks < end) {
                end = *exceptions - g * blocks;
              }
              job.stop = stream + (g * blocks + end) * words;
            }
#if !TM_GEMM_IN_C
            TM_INSTANCE(tm_gemm_blocks)(&job);
#endif
            b = end;
          }
        }
      } while (left > 0 && ox < width && oy == first_row);
      if (ox >= width) {
        ox = 0;
        ++oy;
      }
    }
  }
  return TM_OK;
}

#undef TM_GEMM_IN_C
#undef TM_GEMM_RECORD
#undef TM_GEMM_PAIRS
#undef TM_GEMM_WORDS
#undef TM_GEMM_BIASES
#undef TM_GEMM_SKIP
#undef TM_GEMM_WEIGHT
#undef TM_VARIED
#undef TM_PLAIN
