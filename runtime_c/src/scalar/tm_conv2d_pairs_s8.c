/* Convolution as a matrix product on cores without SIMD, any shape: two weights share a word
 * (tm_pairs.h).
 *
 * Compiled once for each TM_FIELD (place of the second weight; 16: halves, more: long sums),
 * TM_BLOCK (channels of a block: 4 with two pixels, 2 with one), TM_UP (places by
 * which sums are shifted), TM_SIGNED (records have a correction of negative sums) and TM_CLAMPED
 * (the clamp is narrower than int8).
 *
 * Weights are a layout "pairs_...": int32 words; for each block of channels of a group
 * for each tap the words of the block's pairs, then the records of its channels.
 *
 * Pixels whose taps lie in the map are read in place, others from a copy of their patch. So are
 * two pixels of two rows: the first row's last pixel is read after the second row's first one
 * has been written (of several groups: no two rows at once). Scratch: two patches, unless all are
 * read in place. */
#include <stddef.h>
#include <string.h>

#include "tm_conv2d.h"
#include "tm_pairs.h"

#ifndef TM_CONV2D_PAIRS_ONCE
#define TM_CONV2D_PAIRS_ONCE

static inline int8_t *tm_pairs_bytes(int8_t *to, const int8_t *from, int32_t length) {
  for (; length >= 4; length -= 4, to += 4, from += 4) {
#if defined(__ARM_FEATURE_UNALIGNED)
    uint32_t word;
    memcpy(&word, from, sizeof word);
    memcpy(to, &word, sizeof word);
#else
    const int8_t a = from[0], b = from[1], c = from[2], d = from[3];
    to[0] = a;
    to[1] = b;
    to[2] = c;
    to[3] = d;
#endif
  }
  for (; length != 0; --length) {
    *to++ = *from++;
  }
  return to;
}

/* Copies the patch at (iy, ix): `length` bytes of each tap or, where the taps of a row lie side
 * by side and inside the map, all of them at once. */
static inline void tm_pairs_copy(const tm_conv2d_s8_params *p, const tm_rows *in, int32_t iy,
                                 int32_t ix, int32_t offset, int32_t joined, int8_t *to) {
  /* a map without a pad row is never left */
  const int8_t *const pad = (const int8_t *)(in->pad == NULL ? in->base : in->pad);
  for (int32_t ky = 0; ky < p->kernel_h; ++ky, iy += p->dilation_h) {
    const int8_t *row = iy < 0 || iy >= in->rows ? pad : (const int8_t *)tm_row(in, iy);
    if (joined && ix >= 0 && ix + p->kernel_w <= p->in_w) {
      const int32_t length = p->kernel_w * p->in_c;
      to = tm_pairs_bytes(to, row + ix * p->in_c, length);
      continue;
    }
    for (int32_t kx = 0, x = ix; kx < p->kernel_w; ++kx, x += p->dilation_w) {
      const int8_t *from = x < 0 || x >= p->in_w ? pad : row + x * p->in_c;
      to = tm_pairs_bytes(to, from + offset, p->group_in);
    }
  }
}

#endif

/* One block; of its channels [first, last) are written. */
static inline void TM_INSTANCE(tm_pairs_block)(const tm_pairs_rescaling *how, const int32_t *words,
                                               int32_t weights, const int8_t *x0, const int8_t *x1,
                                               const tm_pairs_taps *taps, int8_t *to0, int8_t *to1,
                                               int32_t o, int32_t first, int32_t last,
                                               int32_t exceptional) {
  const int32_t *record = words + weights;
  int32_t sums[4][2];
#if TM_FIELD > 16
  uint32_t split[8];
  tm_long_4x2((const uint32_t *)words, x0, x1, taps, TM_FIELD, split);
  tm_long_split(split[0], split[1], TM_FIELD, &sums[0][0], &sums[1][0]);
  tm_long_split(split[2], split[3], TM_FIELD, &sums[2][0], &sums[3][0]);
  tm_long_split(split[4], split[5], TM_FIELD, &sums[0][1], &sums[1][1]);
  tm_long_split(split[6], split[7], TM_FIELD, &sums[2][1], &sums[3][1]);
#elif TM_BLOCK == 4
  tm_halves_4x2((const uint32_t *)words, x0, x1, taps, sums);
#else
  tm_halves_2x1((const uint32_t *)words, x0, taps, sums);
  (void)x1;
  (void)to1;
#endif
  record += first * TM_PAIRS_RECORD(TM_SIGNED);
  for (int32_t c = first; c < last; ++c, record += TM_PAIRS_RECORD(TM_SIGNED)) {
    for (int32_t t = TM_BLOCK / 2 - 1; t >= 0; --t) {
      int8_t *const to = t == 0 ? to0 : to1;
      to[o + c] = exceptional ? tm_pairs_define(how, sums[c][t], record, o + c)
                              : tm_pairs_scale(how, sums[c][t], tm_pairs_load(record, TM_SIGNED),
                                               TM_UP, TM_SIGNED, TM_CLAMPED);
    }
  }
}

#if defined(TM_PAIRS_ASM) && TM_FIELD > 16
#define TM_PAIRS_BLOCKS
#define TM_PAIRS_TAP           \
  "ldrd r4, r5, [r0], #8\n\t"  \
  "ldrsb.w r3, [r1], #1\n\t"   \
  "smlal r6, r7, r4, r3\n\t"   \
  "smlal r8, r9, r5, r3\n\t"   \
  "ldrsb.w r3, [r2], #1\n\t"   \
  "smlal r10, r11, r4, r3\n\t" \
  "smlal r12, lr, r5, r3\n\t"
#define TM_PAIRS_SPLIT(low, high) \
  "lsr r3, " low                  \
  ", %[field]\n\t"                \
  "orr " high ", r3, " high       \
  ", lsl %[rest]\n\t"             \
  "ubfx " low ", " low ", #0, %[field]\n\t"
#if TM_SIGNED
#define TM_PAIRS_SCALE(first, second) \
  "ldm r0!, {r1, r2, r3, r5}\n\t"     \
  "add " first ", r1, " first         \
  ", lsl %[up]\n\t"                   \
  "add " second ", r1, " second       \
  ", lsl %[up]\n\t"                   \
  "and r1, r5, " first                \
  ", asr #31\n\t"                     \
  "smull r4, " first ", r2, " first   \
  "\n\t"                              \
  "sub " first ", " first             \
  ", r1\n\t"                          \
  "and r1, r5, " second               \
  ", asr #31\n\t"                     \
  "smull r4, " second ", r2, " second \
  "\n\t"                              \
  "sub " second ", " second           \
  ", r1\n\t"                          \
  "ldr r4, [r0], #4\n\t" TM_PAIRS_END(first) TM_PAIRS_END(second)
#else
#define TM_PAIRS_SCALE(first, second) \
  "ldm r0!, {r1, r2, r3, r4}\n\t"     \
  "add " first ", r1, " first         \
  ", lsl %[up]\n\t"                   \
  "add " second ", r1, " second       \
  ", lsl %[up]\n\t"                   \
  "smull r5, " first ", r2, " first   \
  "\n\t"                              \
  "smull r5, " second ", r2, " second "\n\t" TM_PAIRS_END(first) TM_PAIRS_END(second)
#endif
#define TM_PAIRS_END(value) \
  "add " value              \
  ", r3\n\t"                \
  "asr " value              \
  ", r4\n\t"                \
  "ssat " value ", #8, " value "\n\t"
#if TM_CLAMPED
#define TM_PAIRS_LIMITS "ldrd r3, r4, %[limits]\n\t"
#define TM_PAIRS_CLAMP(value)                    \
  "cmp " value ", r3\n\t it lt\n\t movlt " value \
  ", r3\n\t"                                     \
  "cmp " value ", r4\n\t it gt\n\t movgt " value ", r4\n\t"
#else
#define TM_PAIRS_LIMITS
#define TM_PAIRS_CLAMP(value)
#endif

/* Whole blocks of both pixels until the words reach `stop`. */
static inline void TM_INSTANCE(tm_pairs_blocks)(const tm_pairs_rescaling *how, const int32_t *words,
                                                const int32_t *stop, const int8_t *x0,
                                                const int8_t *x1, const tm_pairs_taps *taps,
                                                int8_t *to0, int8_t *to1) {
  /* the first pass through the unrolled taps enters late; all registers are in use inside, so
   * what the blocks share lies on the stack */
  struct {
    const int8_t *x0, *x1;
    const int8_t *end;
    int32_t runs;
    const int8_t *first_end;
    int32_t all_runs, skip, step, gap;
    const int32_t *words, *stop;
    int8_t *to0, *to1;
  } map = {x0,
           x1,
           NULL,
           0,
           x0 + taps->length,
           taps->runs,
           28 * (-taps->length & 7),
           taps->step,
           taps->step - taps->length,
           words,
           stop,
           to0,
           to1};
#if TM_CLAMPED
  const struct {
    int32_t lo, hi;
  } limits = {how->lo, how->hi};
#else
  (void)how;
#endif
  __asm__ volatile(
      "ldr r0, %[words]\n"
      "1:\n\t"
      "mov.w r6, %[start]\n\t"
      "movs r7, #0\n\t"
      "mov r8, r6\n\t"
      "mov r9, r7\n\t"
      "mov r10, r6\n\t"
      "mov r11, r7\n\t"
      "mov r12, r6\n\t"
      "mov lr, r7\n\t"
      "ldrd r1, r2, %[x]\n\t"
      "ldr r5, %[first_end]\n\t"
      "ldr r3, %[all_runs]\n"
      "2:\n\t"
      "strd r5, r3, %[end]\n\t"
      "ldr r4, %[skip]\n\t"
      ".balign 4\n\t"
      "add pc, r4\n\t"
      "nop\n"
      "3:\n\t"
      TM_PAIRS_TAP TM_PAIRS_TAP TM_PAIRS_TAP TM_PAIRS_TAP
      TM_PAIRS_TAP TM_PAIRS_TAP TM_PAIRS_TAP TM_PAIRS_TAP
      "ldrd r5, r3, %[end]\n\t"
      "cmp r1, r5\n\t"
      "bne 3b\n\t"
      "subs r3, #1\n\t"
      "beq 4f\n\t"
      "ldr r4, %[step]\n\t"
      "add r5, r4\n\t"
      "ldr r4, %[gap]\n\t"
      "add r1, r4\n\t"
      "add r2, r4\n\t"
      "b 2b\n"
      "4:\n\t"
      TM_PAIRS_SPLIT("r6", "r7") TM_PAIRS_SPLIT("r8", "r9")
      TM_PAIRS_SPLIT("r10", "r11") TM_PAIRS_SPLIT("r12", "lr")
      TM_PAIRS_SCALE("r6", "r10") TM_PAIRS_SCALE("r7", "r11")
      TM_PAIRS_SCALE("r8", "r12") TM_PAIRS_SCALE("r9", "lr")
      "ldrd r1, r2, %[to]\n\t"
      TM_PAIRS_LIMITS
      TM_PAIRS_CLAMP("r6") TM_PAIRS_CLAMP("r7") TM_PAIRS_CLAMP("r8") TM_PAIRS_CLAMP("r9")
      TM_PAIRS_CLAMP("r10") TM_PAIRS_CLAMP("r11") TM_PAIRS_CLAMP("r12") TM_PAIRS_CLAMP("lr")
      "strb r10, [r2], #1\n\t"
      "strb r11, [r2], #1\n\t"
      "strb r12, [r2], #1\n\t"
      "strb lr, [r2], #1\n\t"
      "strb r6, [r1], #1\n\t"
      "strb r7, [r1], #1\n\t"
      "strb r8, [r1], #1\n\t"
      "strb r9, [r1], #1\n\t"
      "strd r1, r2, %[to]\n\t"
      "ldr r3, %[stop]\n\t"
      "cmp r0, r3\n\t"
      "bne 1b\n\t"
      : [to] "+m"(map.to0), [end] "+m"(map.end)
      : [words] "m"(map.words), [stop] "m"(map.stop), [x] "m"(map.x0),
        [first_end] "m"(map.first_end), [all_runs] "m"(map.all_runs), [skip] "m"(map.skip),
        [step] "m"(map.step), [gap] "m"(map.gap), [start] "i"(1 << (TM_FIELD - 1)),
        [field] "i"(TM_FIELD), [rest] "i"(32 - TM_FIELD), [up] "i"(TM_UP)
#if TM_CLAMPED
        , [limits] "m"(limits)
#endif
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",
        "cc", "memory");
}
#undef TM_PAIRS_TAP
#undef TM_PAIRS_SPLIT
#undef TM_PAIRS_SCALE
#undef TM_PAIRS_END
#undef TM_PAIRS_LIMITS
#undef TM_PAIRS_CLAMP
#elif TM_FIELD == 16
#define TM_PAIRS_BLOCKS
/* Whole blocks of all pixels until the words reach `stop`. */
static void TM_INSTANCE(tm_pairs_blocks)(const tm_pairs_rescaling *how, const int32_t *words,
                                         const int32_t *stop, const int8_t *x0, const int8_t *x1,
                                         const tm_pairs_taps *taps, int8_t *to0, int8_t *to1) {
  const int32_t weights = taps->runs * taps->length * (TM_BLOCK / 2);
  while (words != stop) {
    int32_t sums[4][2];
#if TM_BLOCK == 4
    tm_halves_4x2((const uint32_t *)words, x0, x1, taps, sums);
#else
    tm_halves_2x1((const uint32_t *)words, x0, taps, sums);
#endif
    words += weights;
#define TM_PAIRS_OUT(c)                                                          \
  if ((c) < TM_BLOCK) {                                                          \
    const tm_pairs_record r = tm_pairs_load(words, TM_SIGNED);                   \
    if (TM_BLOCK == 4) {                                                         \
      to1[c] = tm_pairs_scale(how, sums[c][1], r, TM_UP, TM_SIGNED, TM_CLAMPED); \
    }                                                                            \
    to0[c] = tm_pairs_scale(how, sums[c][0], r, TM_UP, TM_SIGNED, TM_CLAMPED);   \
    words += TM_PAIRS_RECORD(TM_SIGNED);                                         \
  }
    TM_PAIRS_OUT(0)
    TM_PAIRS_OUT(1)
    TM_PAIRS_OUT(2)
    TM_PAIRS_OUT(3)
#undef TM_PAIRS_OUT
    to0 += TM_BLOCK;
    to1 += TM_BLOCK;
  }
  (void)x1;
}
#endif

static tm_status TM_INSTANCE(tm_conv2d_pairs_s8)(const tm_conv2d_s8_params *p, const tm_rows *in,
                                                 const int32_t *weights, const int32_t *bias,
                                                 const tm_rows *out, const tm_part *part,
                                                 void *scratch) {
  const int32_t joined = p->dilation_w == 1 && p->group_in == p->in_c;
  const int32_t patch = p->kernel_h * p->kernel_w * p->group_in;
  const int32_t words = patch * (TM_BLOCK / 2);
  const int32_t groups = p->in_c / p->group_in;
  const tm_pairs_rescaling how = {p->out_zero, p->lo, p->hi, p->multiplier, p->shift, p->scale};
  const int32_t blocks = (p->group_out + TM_BLOCK - 1) / TM_BLOCK;
  /* in place where the blocks' changes of row cost less than a copy */
  const int32_t in_place = p->kernel_h * p->kernel_w == 1 ||
                           (joined && blocks * (p->kernel_h - 1) < 5 * p->kernel_h + patch / 5);
  const tm_pairs_taps whole = {1, patch, 0};
  const tm_pairs_taps rows = {p->kernel_h, patch / p->kernel_h, p->dilation_h * in->row_bytes};
  int8_t *const spare = (int8_t *)scratch;
  const int32_t all_channels = part->channel0 == 0 && part->channel1 == p->out_c;
  /* rows of a ring that a kernel's rows may lie across, else 0 */
  const int32_t ring = in->ring == in->rows || p->kernel_h == 1 ? 0 : in->ring;
  const int32_t end = p->out_w * (part->row1 - part->row0);
  int32_t oy = part->row0, ox = 0;
  (void)bias;
  for (int32_t left = end; left > 0;) {
    int32_t iy[2], ix[2];
    int8_t *to[2];
    int32_t inside = in_place;
    const int32_t first_row = oy;
    for (int32_t t = 0; t < TM_BLOCK / 2; ++t) {
      if (left <= 0 || (groups > 1 && oy != first_row)) {
        iy[t] = iy[0];
        ix[t] = ix[0];
        to[t] = to[0];
        continue;
      }
      --left;
      iy[t] = oy * p->stride_h - p->pad_top;
      ix[t] = ox * p->stride_w - p->pad_left;
      to[t] = (int8_t *)tm_row_out(out, oy) + ox * p->out_c;
      inside &= oy == first_row && iy[t] >= 0 &&
                iy[t] + (p->kernel_h - 1) * p->dilation_h < in->rows && ix[t] >= 0 &&
                ix[t] + (p->kernel_w - 1) * p->dilation_w < p->in_w &&
                (ring == 0 || iy[t] % ring + (p->kernel_h - 1) * p->dilation_h < ring);
      if (++ox == p->out_w) {
        ox = 0;
        ++oy;
      }
    }
    const int16_t *exceptions = p->exceptions;
    const int32_t *stream = weights;
    int32_t o = 0, block = 0;
    for (int32_t g = 0; g < groups; ++g) {
      const int8_t *x[2];
      for (int32_t t = 0; t < TM_BLOCK / 2; ++t) {
        /* without scratch all are inside, which the compiler can't know */
        if (inside || spare == NULL) {
          x[t] = (const int8_t *)tm_row(in, iy[t]) + ix[t] * p->in_c + g * p->group_in;
        } else {
          x[t] = spare + t * patch;
          tm_pairs_copy(p, in, iy[t], ix[t], g * p->group_in, joined, spare + t * patch);
        }
      }
      for (int32_t rest = p->group_out; rest > 0;) {
#if defined(TM_PAIRS_BLOCKS)
        int32_t all = rest / TM_BLOCK;
        if (exceptions != NULL && *exceptions - block < all) {
          all = *exceptions - block;
        }
        if (all_channels && all != 0) {
          const int32_t *stop = stream + all * (words + TM_BLOCK * TM_PAIRS_RECORD(TM_SIGNED));
          TM_INSTANCE(tm_pairs_blocks)
          (&how, stream, stop, x[0], x[TM_BLOCK / 2 - 1], inside ? &rows : &whole, to[0] + o,
           to[TM_BLOCK / 2 - 1] + o);
          stream = stop;
          block += all;
          o += all * TM_BLOCK;
          rest -= all * TM_BLOCK;
          continue;
        }
#endif
        const int32_t exceptional = exceptions != NULL && *exceptions == block;
        const int32_t channels = rest < TM_BLOCK ? rest : TM_BLOCK;
        int32_t first = 0, last = channels;
        if (!all_channels) {
          first = part->channel0 <= o ? 0 : part->channel0 - o;
          last = part->channel1 - o < channels ? part->channel1 - o : channels;
        }
        if (first < last) {
          TM_INSTANCE(tm_pairs_block)
          (&how, stream, words, x[0], x[TM_BLOCK / 2 - 1], inside ? &rows : &whole, to[0],
           to[TM_BLOCK / 2 - 1], o, first, last, exceptional);
        }
        stream += words + TM_BLOCK * TM_PAIRS_RECORD(TM_SIGNED);
        if (exceptional) {
          ++exceptions;
        }
        ++block;
        o += channels;
        rest -= channels;
      }
    }
  }
  return TM_OK;
}

#undef TM_PAIRS_BLOCKS
