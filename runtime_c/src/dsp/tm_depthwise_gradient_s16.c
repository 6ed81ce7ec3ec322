/* Gradient of the input of a depthwise convolution without dilation, on cores with SMLABB. The
 * gradients of two channels become a plane of words between columns of zeros; places whose columns
 * are of one phase (modulo the stride) see the same taps, words too, and are summed four at a time.
 *
 * Compiled once for each TM_TAPS, the taps of a line that a place sees, and TM_STRIDE, that of the
 * columns.
 *
 * Scratch: a plane of all lines of h, the words of the taps, 16 bytes a row. */
#include "tm_conv_input_gradient.h"
#include "tm_mantissas.h"

#ifndef TM_DEPTHWISE_GRADIENT_ONCE
#define TM_DEPTHWISE_GRADIENT_ONCE

/* What a row of the output sees: `lines` lines of taps. */
typedef struct {
  int32_t lines;
  int32_t
      plane; /* words to the line of the plane that the first of them meets; the next are before */
  int32_t taps; /* words to the first */
  int32_t out;  /* bytes to the row */
} tm_depthwise_row;

static inline int32_t tm_depthwise_least(int32_t a, int32_t b) {
  return a < b ? a : b;
}

/* Words of a line of the plane. */
static inline int32_t tm_depthwise_pitch(const tm_conv_input_gradient_s16_params *p, int32_t taps) {
  const int32_t across = (p->in_w + p->stride_w - 1) / p->stride_w;
  const int32_t read =
      (p->pad_left + p->stride_w - 1) / p->stride_w + (across + 3) / 4 * 4 + taps - 1;
  const int32_t held = taps - 1 + p->out_w;
  return read > held ? read : held;
}

/* What row y sees of a plane that begins with line `top` of `height`; words of a line of taps. */
static TM_NOINLINE tm_depthwise_row tm_depthwise_seen(const tm_conv_input_gradient_s16_params *p,
                                                      const tm_rows *out, int32_t y, int32_t top,
                                                      int32_t height, int32_t pitch,
                                                      int32_t words) {
  const int32_t reach = y + p->pad_top;
  const int32_t last = reach / p->stride_h;
  const int32_t skipped = last >= height ? last - height + 1 : 0;
  const int32_t first = reach % p->stride_h + skipped * p->stride_h;
  const int32_t reached = p->kernel_h > first ? (p->kernel_h - 1 - first) / p->stride_h + 1 : 0;
  tm_depthwise_row row;
  row.lines = tm_depthwise_least(reached, last - skipped + 1);
  row.plane = row.lines > 0 ? (last - skipped - top) * pitch : 0;
  row.taps = row.lines > 0 ? first * words : 0;
  row.out = (int32_t)((uint8_t *)tm_row_out(out, y) - out->base);
  return row;
}

/* A line of two channels, or one: `step` from pixel to pixel. */
static TM_INLINE void tm_depthwise_fill(const int16_t *h, int32_t step, int32_t count, int32_t both,
                                        uint32_t *to) {
  uint32_t *const end = to + count;
  if (!both) {
    for (; to != end; h += step) {
      *to++ = (uint32_t)*h & 0xFFFFu;
    }
    return;
  }
  for (; to != end; h += step) {
    *to++ = tm_mantissas_load(h);
  }
}

/* acc + the products of the low, of the high halves. */
static TM_INLINE int32_t tm_smlabb(uint32_t a, uint32_t b, int32_t acc) {
#if defined(TM_DSP_ASM)
  __asm__("smlabb %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
  return acc;
#else
  return acc + tm_low16(a) * tm_low16(b);
#endif
}

static TM_INLINE int32_t tm_smlatt(uint32_t a, uint32_t b, int32_t acc) {
#if defined(TM_DSP_ASM)
  __asm__("smlatt %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
  return acc;
#else
  return acc + tm_high16(a) * tm_high16(b);
#endif
}

/* What the places of a call share with the assembly. */
typedef struct {
  struct {
    const uint32_t *h, *taps;
  } from;
  struct {
    int32_t lines;
    int32_t back; /* bytes from line to line of the plane */
  } counts;
  int32_t ahead; /* bytes from line to line of the taps */
  int32_t scale; /* tm_mantissas */
  struct {
    uint32_t high, low;
  } limits;
  int16_t *out;
  int32_t step; /* bytes from place to place */
} tm_depthwise_job;

/* The values of two channels, or one, of a place. */
static TM_INLINE void tm_depthwise_store(const tm_mantissas *how, int32_t first, int32_t second,
                                         int32_t both, int16_t *g) {
  const uint32_t pair = tm_mantissas_pair(how, first, second);
  if (both) {
    tm_mantissas_store(g, pair);
  } else {
    *g = (int16_t)(pair & 0xFFFFu);
  }
}

#endif

/* The words of the taps of two channels, or one, for each line and phase. What no tap comes to
 * stays 0. */
static TM_NOINLINE void TM_INSTANCE(tm_depthwise_taps)(const tm_conv_input_gradient_s16_params *p,
                                                       const int8_t *w, int32_t both,
                                                       uint32_t *to) {
  const int32_t next = both ? p->kernel_h * p->kernel_w : 0;
  const uint32_t mask = both ? 0xFFFFFFFFu : 0xFFFFu;
  for (int32_t ky = 0; ky < p->kernel_h; ++ky) {
    for (int32_t phase = 0; phase < TM_STRIDE; ++phase) {
      /* the last tap sees the first column */
      uint32_t *place = to + TM_TAPS - 1;
      for (int32_t kx = phase; kx < p->kernel_w; kx += TM_STRIDE) {
        *place-- = tm_pack16(w[kx], w[kx + next]) & mask;
      }
      to += TM_TAPS;
    }
    w += p->kernel_w;
  }
}

/* What tap k adds to four places; before it the words of columns k to k + 2 are in s0 to s2. */
#define TM_DEPTHWISE_TAP(k, s0, s1, s2) \
  if (TM_TAPS > (k)) {                  \
    const uint32_t tap = taps[k];       \
    a0 = tm_smlabb(s0, tap, a0);        \
    b0 = tm_smlatt(s0, tap, b0);        \
    s0 = h[(k) + 3];                    \
    a1 = tm_smlabb(s1, tap, a1);        \
    b1 = tm_smlatt(s1, tap, b1);        \
    a2 = tm_smlabb(s2, tap, a2);        \
    b2 = tm_smlatt(s2, tap, b2);        \
    a3 = tm_smlabb(s0, tap, a3);        \
    b3 = tm_smlatt(s0, tap, b3);        \
  }

#if defined(TM_DSP_ASM)
/* clang-format off */
#define TM_DEPTHWISE_ASM(k, s0, s1, s2)     \
  "ldr.w lr, [r1, #4 * (" #k ")]\n\t"       \
  "smlabb r4, " s0 ", lr, r4\n\t"          \
  "smlatt r5, " s0 ", lr, r5\n\t"          \
  "ldr.w " s0 ", [r0, #4 * (" #k " + 3)]\n\t" \
  "smlabb r6, " s1 ", lr, r6\n\t"          \
  "smlatt r7, " s1 ", lr, r7\n\t"          \
  "smlabb r8, " s2 ", lr, r8\n\t"          \
  "smlatt r9, " s2 ", lr, r9\n\t"          \
  "smlabb r10, " s0 ", lr, r10\n\t"        \
  "smlatt r11, " s0 ", lr, r11\n\t"
#define TM_DEPTHWISE_0 TM_DEPTHWISE_ASM(0, "r2", "r3", "r12")
#if TM_TAPS > 1
#define TM_DEPTHWISE_1 TM_DEPTHWISE_ASM(1, "r3", "r12", "r2")
#else
#define TM_DEPTHWISE_1
#endif
#if TM_TAPS > 2
#define TM_DEPTHWISE_2 TM_DEPTHWISE_ASM(2, "r12", "r2", "r3")
#else
#define TM_DEPTHWISE_2
#endif
#if TM_TAPS > 3
#define TM_DEPTHWISE_3 TM_DEPTHWISE_ASM(3, "r2", "r3", "r12")
#else
#define TM_DEPTHWISE_3
#endif
#if TM_TAPS > 4
#define TM_DEPTHWISE_4 TM_DEPTHWISE_ASM(4, "r3", "r12", "r2")
#else
#define TM_DEPTHWISE_4
#endif
#if TM_TAPS > 5
#define TM_DEPTHWISE_5 TM_DEPTHWISE_ASM(5, "r12", "r2", "r3")
#else
#define TM_DEPTHWISE_5
#endif
#if TM_TAPS > 6
#define TM_DEPTHWISE_6 TM_DEPTHWISE_ASM(6, "r2", "r3", "r12")
#else
#define TM_DEPTHWISE_6
#endif
/* clang-format on */
#endif

/* Four places of two channels; of one, or fewer places: `count` of them. */
static TM_INLINE void TM_INSTANCE(tm_depthwise_four)(tm_depthwise_job *job, int32_t count,
                                                     int32_t both) {
#if defined(TM_DSP_ASM)
  if (count >= 4 && both && job->counts.lines > 0) {
    /* clang-format off */
    __asm__ volatile(
        "ldrd r0, r1, %[from]\n\t"
        "mov r4, #0\n\t mov r5, #0\n\t mov r6, #0\n\t mov r7, #0\n\t"
        "mov r8, #0\n\t mov r9, #0\n\t mov r10, #0\n\t mov r11, #0\n"
        "1:\n\t"
        "ldrd r2, r3, [r0]\n\t"
        "ldr r12, [r0, #8]\n\t"
        TM_DEPTHWISE_0 TM_DEPTHWISE_1 TM_DEPTHWISE_2 TM_DEPTHWISE_3
        TM_DEPTHWISE_4 TM_DEPTHWISE_5 TM_DEPTHWISE_6
        "ldrd r2, r3, %[lines]\n\t"
        "ldr r12, %[ahead]\n\t"
        "sub r0, r0, r3\n\t"
        "add r1, r1, r12\n\t"
        "subs r2, r2, #1\n\t"
        "str r2, %[lines]\n\t"
        "bne 1b\n\t"
        "ldr r0, %[scale]\n\t"
        "ldrd r2, r3, %[limits]\n\t"
        "smmulr r4, r4, r0\n\t smmulr r5, r5, r0\n\t"
        "smmulr r6, r6, r0\n\t smmulr r7, r7, r0\n\t"
        "smmulr r8, r8, r0\n\t smmulr r9, r9, r0\n\t"
        "smmulr r10, r10, r0\n\t smmulr r11, r11, r0\n\t"
        "ssat r4, #16, r4\n\t ssat r5, #16, r5\n\t ssat r6, #16, r6\n\t ssat r7, #16, r7\n\t"
        "ssat r8, #16, r8\n\t ssat r9, #16, r9\n\t"
        "ssat r10, #16, r10\n\t ssat r11, #16, r11\n\t"
        "ldr r0, %[out]\n\t"
        "ldr r1, %[step]\n\t"
        "pkhbt r4, r4, r5, lsl #16\n\t pkhbt r6, r6, r7, lsl #16\n\t"
        "pkhbt r8, r8, r9, lsl #16\n\t pkhbt r10, r10, r11, lsl #16\n\t"
        "qadd16 r4, r4, r2\n\t qadd16 r6, r6, r2\n\t qadd16 r8, r8, r2\n\t qadd16 r10, r10, r2\n\t"
        "ssub16 r4, r4, r2\n\t ssub16 r6, r6, r2\n\t ssub16 r8, r8, r2\n\t ssub16 r10, r10, r2\n\t"
        "qsub16 r4, r4, r3\n\t qsub16 r6, r6, r3\n\t qsub16 r8, r8, r3\n\t qsub16 r10, r10, r3\n\t"
        "sadd16 r4, r4, r3\n\t sadd16 r6, r6, r3\n\t sadd16 r8, r8, r3\n\t sadd16 r10, r10, r3\n\t"
        "str r4, [r0]\n\t"
        "str r6, [r0, r1]\n\t"
        "add r0, r0, r1, lsl #1\n\t"
        "str r8, [r0]\n\t"
        "str r10, [r0, r1]\n\t"
        : [lines] "+m"(job->counts)
        : [from] "m"(job->from), [ahead] "m"(job->ahead), [scale] "m"(job->scale),
          [limits] "m"(job->limits), [out] "m"(job->out), [step] "m"(job->step)
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",
          "cc", "memory");
    /* clang-format on */
    return;
  }
#endif
  {
    const uint32_t *h = job->from.h;
    const uint32_t *taps = job->from.taps;
    const tm_mantissas how = {job->scale, job->limits.high, job->limits.low};
    const int32_t step = job->step / 2;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    int32_t b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    for (int32_t lines = job->counts.lines; lines > 0; --lines) {
      uint32_t s0 = h[0], s1 = h[1], s2 = h[2];
      TM_DEPTHWISE_TAP(0, s0, s1, s2)
      TM_DEPTHWISE_TAP(1, s1, s2, s0)
      TM_DEPTHWISE_TAP(2, s2, s0, s1)
      TM_DEPTHWISE_TAP(3, s0, s1, s2)
      TM_DEPTHWISE_TAP(4, s1, s2, s0)
      TM_DEPTHWISE_TAP(5, s2, s0, s1)
      TM_DEPTHWISE_TAP(6, s0, s1, s2)
      h -= job->counts.back / 4;
      taps += job->ahead / 4;
    }
    tm_depthwise_store(&how, a0, b0, both, job->out);
    if (count > 1) {
      tm_depthwise_store(&how, a1, b1, both, job->out + step);
    }
    if (count > 2) {
      tm_depthwise_store(&how, a2, b2, both, job->out + 2 * step);
    }
    if (count > 3) {
      tm_depthwise_store(&how, a3, b3, both, job->out + 3 * step);
    }
  }
}

/* Some rows of two channels, or one, of the map at g, from their plane. */
static TM_NOINLINE void TM_INSTANCE(tm_depthwise_channels)(
    const tm_conv_input_gradient_s16_params *p, const tm_mantissas *how, const uint32_t *plane,
    int32_t pitch, const uint32_t *taps, const tm_depthwise_row *rows, int32_t count, int32_t both,
    uint8_t *g) {
  const int32_t stride = TM_STRIDE;
  tm_depthwise_job job;
  job.counts.back = 4 * pitch;
  job.ahead = 4 * TM_TAPS * stride * p->stride_h;
  job.scale = how->scale;
  job.limits.high = how->high;
  job.limits.low = how->low;
  job.step = 2 * stride * p->in_c;
  for (int32_t phase = 0; phase < stride; ++phase) {
    const int32_t x = (phase + p->pad_left * (stride - 1)) % stride;
    const int32_t across = (p->in_w - x + stride - 1) / stride;
    const uint32_t *const from = plane + (x + p->pad_left) / stride;
    uint8_t *const to = g + 2 * x * p->in_c;
    for (const tm_depthwise_row *row = rows; row != rows + count; ++row) {
      job.from.h = from + row->plane;
      job.from.taps = taps + row->taps;
      job.out = (int16_t *)(void *)(to + row->out);
      for (int32_t left = across; left > 0; left -= 4) {
        job.counts.lines = row->lines;
        TM_INSTANCE(tm_depthwise_four)(&job, left, both);
        job.from.h += 4;
        job.out += 2 * job.step;
      }
    }
    taps += TM_TAPS;
  }
}

static tm_status TM_INSTANCE(tm_depthwise_gradient_s16)(const tm_conv_input_gradient_s16_params *p,
                                                        const tm_rows *in, const int8_t *weights,
                                                        const tm_rows *out, const tm_part *part,
                                                        void *scratch) {
  const tm_mantissas how = tm_mantissas_of(p->shift, p->limit);
  const int32_t pitch = tm_depthwise_pitch(p, TM_TAPS);
  const int32_t line = TM_TAPS * TM_STRIDE;
  const int32_t count = part->row1 - part->row0;
  /* the lines of h that are seen from these rows */
  const int32_t above = part->row0 + p->pad_top - p->kernel_h + p->stride_h;
  const int32_t top = above < 0 ? 0 : above / p->stride_h;
  const int32_t end = tm_depthwise_least((part->row1 - 1 + p->pad_top) / p->stride_h + 1, p->out_h);
  uint32_t *const plane = (uint32_t *)scratch;
  uint32_t *const taps = plane + p->out_h * pitch;
  tm_depthwise_row *const rows = (tm_depthwise_row *)(taps + line * p->kernel_h);
  memset(plane, 0, (size_t)((uint8_t *)rows - (uint8_t *)plane));
  for (int32_t k = 0; k < count; ++k) {
    rows[k] = tm_depthwise_seen(p, out, part->row0 + k, top, p->out_h, pitch, line);
  }
  for (int32_t c = part->channel0; c < part->channel1; c += 2) {
    const int32_t both = c + 1 < part->channel1;
    for (int32_t oy = top; oy < end; ++oy) {
      tm_depthwise_fill((const int16_t *)tm_row(in, oy) + c, p->out_c, p->out_w, both,
                        plane + (oy - top) * pitch + TM_TAPS - 1);
    }
    TM_INSTANCE(tm_depthwise_taps)(p, weights + c * p->kernel_h * p->kernel_w, both, taps);
    TM_INSTANCE(tm_depthwise_channels)
    (p, &how, plane, pitch, taps, rows, count, both, out->base + 2 * c);
  }
  return TM_OK;
}

#undef TM_DEPTHWISE_TAP
#undef TM_DEPTHWISE_ASM
#undef TM_DEPTHWISE_0
#undef TM_DEPTHWISE_1
#undef TM_DEPTHWISE_2
#undef TM_DEPTHWISE_3
#undef TM_DEPTHWISE_4
#undef TM_DEPTHWISE_5
#undef TM_DEPTHWISE_6
