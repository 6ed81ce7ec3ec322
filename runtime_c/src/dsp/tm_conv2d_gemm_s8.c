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

/* Widens the runs at p[0..2] into words of the three pixels; returns the end of what it wrote. */
static inline uint32_t *tm_gemm_widen(const int8_t *p0, const int8_t *p1, const int8_t *p2,
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

/* One run of a pixel: in place where it lies inside the map, else copied to `spare`. */
static inline const int8_t *tm_gemm_run(const tm_conv2d_s8_params *p, const tm_rows *in, int32_t iy,
                                        int32_t ix, int32_t taps, int32_t offset, int8_t *spare) {
  const int8_t *row = (const int8_t *)tm_row(in, iy);
  const int8_t *pad = (const int8_t *)in->pad;
  if (row == pad && taps <= p->in_w) {
    return pad; /* one value throughout */
  }
  if (ix >= 0 && ix + taps <= p->in_w) {
    return row + ix * p->in_c + offset;
  }
  for (int32_t k = 0; k < taps; ++k, ++ix) {
    const int8_t *from = ix < 0 || ix >= p->in_w ? pad : row + ix * p->in_c + offset;
    memcpy(spare + k * p->group_in, from, (size_t)p->group_in);
  }
  return spare;
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
static const int32_t *TM_INSTANCE(tm_gemm_block)(const tm_conv2d_s8_params *p,
                                                 const int32_t *stream, const uint32_t *patch,
                                                 int32_t pairs, int8_t *const out[3], int32_t o,
                                                 int32_t channels, int32_t exceptional) {
  uint32_t acc[2][3];
  stream = tm_gemm_sums(stream, patch, pairs, acc);
  for (int32_t c = 0; c < channels; ++c) {
    for (int32_t t = 2; t >= 0; --t) {
      if (exceptional) {
        const int32_t q = tm_rescale((int32_t)acc[c][t], p->multiplier, p->shift, p->scale, o + c);
        out[t][o + c] = (int8_t)tm_clamp(q + p->out_zero, p->lo, p->hi);
      } else {
        out[t][o + c] = TM_INSTANCE(tm_gemm_rescale)(p, acc[c][t], stream + TM_GEMM_RECORD * c);
      }
    }
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

/* Blocks of two channels and three pixels until the weights reach `stop`; returns `stop`. */
static inline const int32_t *TM_INSTANCE(tm_gemm_blocks)(const tm_conv2d_s8_params *p,
                                                         const int32_t *stream, const int32_t *stop,
                                                         const uint32_t *patch, int32_t pairs,
                                                         int8_t *const out[3], int32_t o) {
  /* the first pass through the unrolled pairs enters late; all registers are in use inside, so
   * what the blocks share lies on the stack */
  struct {
    const uint32_t *patch, *end;
  } map = {patch, patch + 3 * pairs};
  struct {
    int8_t *first;
    int32_t second;
  } to = {out[0] + o, out[1] - out[0]};
  const int32_t third = out[2] - out[0];
  const int32_t skip = 32 * ((TM_GEMM_UNROLL - pairs % TM_GEMM_UNROLL) % TM_GEMM_UNROLL);
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
        [third] "m"(third), [shift] "i"(TM_SHIFT)
#if TM_CLAMPED
        , [limits] "m"(limits)
#endif
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",
        "cc", "memory");
  return stop;
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
                                                 int32_t pairs, int8_t *const out[3], int32_t first,
                                                 int32_t block, const int16_t **exceptions) {
  const int32_t words = 2 + 2 * pairs + 2 * TM_GEMM_RECORD;
  const int32_t whole = p->group_out / 2;
  int32_t b = 0;
  while (2 * b < p->group_out) {
    const int32_t exceptional = *exceptions != NULL && **exceptions == block + b;
#if defined(TM_DSP_ASM)
    if (!exceptional && b < whole) {
      int32_t end = whole;
      if (*exceptions != NULL && **exceptions - block < end) {
        end = **exceptions - block;
      }
      stream = TM_INSTANCE(tm_gemm_blocks)(p, stream, stream + (end - b) * words, patch, pairs, out,
                                           first + 2 * b);
      b = end;
      continue;
    }
#endif
    stream = TM_INSTANCE(tm_gemm_block)(p, stream, patch, pairs, out, first + 2 * b,
                                        b < whole ? 2 : 1, exceptional);
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
  const int32_t taps = joined ? p->kernel_w : 1;
  const int32_t run = taps * p->group_in;
  const int32_t runs = joined ? 1 : p->kernel_w; /* of a kernel row */
  const int32_t pairs = p->kernel_h * runs * ((run + 1) / 2);
  const int32_t blocks = (p->group_out + 1) / 2;
  const int32_t group_words = blocks * (2 + 2 * pairs + 2 * TM_GEMM_RECORD);
  const int32_t groups = p->in_c / p->group_in;
  uint32_t *const patch = (uint32_t *)scratch;
  int8_t *const spare = (int8_t *)(patch + 3 * pairs);
  int32_t left = (part->row1 - part->row0) * p->out_w;
  int32_t oy = part->row0;
  int32_t ox = 0;
  (void)bias;
  while (left > 0) {
    int32_t iy[3], ix[3];
    int8_t *to[3];
    int32_t inside = in->ring == in->rows; /* no run leaves the map */
    for (int32_t t = 0; t < 3; ++t) {
      if (t < left) {
        iy[t] = oy * p->stride_h - p->pad_top;
        ix[t] = ox * p->stride_w - p->pad_left;
        to[t] = (int8_t *)tm_row_out(out, oy) + ox * p->out_c;
        inside &= iy[t] >= 0 && iy[t] + (p->kernel_h - 1) * p->dilation_h < in->rows &&
                  ix[t] >= 0 && ix[t] + (p->kernel_w - 1) * p->dilation_w < p->in_w;
        if (++ox == p->out_w) {
          ox = 0;
          ++oy;
        }
      } else {
        iy[t] = iy[0];
        ix[t] = ix[0];
        to[t] = to[0];
      }
    }
    const int16_t *exceptions = p->exceptions;
    for (int32_t g = 0; g < groups; ++g) {
      uint32_t *end = patch;
      if (inside) {
        const int8_t *x[3];
        for (int32_t t = 0; t < 3; ++t) {
          x[t] =
              (const int8_t *)in->base + iy[t] * in->row_bytes + ix[t] * p->in_c + g * p->group_in;
        }
        for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
          int32_t at = ky * p->dilation_h * in->row_bytes;
          for (int32_t kx = 0; kx < runs; ++kx) {
            end = tm_gemm_widen(x[0] + at, x[1] + at, x[2] + at, run, end);
            at += p->dilation_w * p->in_c;
          }
        }
      } else {
        for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
          for (int32_t kx = 0; kx < runs; ++kx) {
            const int8_t *x[3];
            for (int32_t t = 0; t < 3; ++t) {
              x[t] = tm_gemm_run(p, in, iy[t] + ky * p->dilation_h, ix[t] + kx * p->dilation_w,
                                 taps, g * p->group_in, spare + t * run);
            }
            end = tm_gemm_widen(x[0], x[1], x[2], run, end);
          }
        }
      }
      TM_INSTANCE(tm_gemm_channels)(p, weights + g * group_words, patch, pairs, to,
                                    g * p->group_out, g * blocks, &exceptions);
    }
    left -= 3;
  }
  return TM_OK;
}

#undef TM_GEMM_RECORD
