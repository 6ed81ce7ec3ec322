/* Depthwise convolution (one input and one output channel a group) on cores with MVE, any shape,
 * weights of zero point 0. Input rows are copied to scratch four at a time such that the four
 * bytes of a column and channel make a word; a gather of four words is then a window of four
 * rows by four columns of one channel, 16 products an instruction.
 *
 * Compiled once for each
 *   TM_PAIRS    1: up to 3x3 taps, stride 1: a window serves two columns of two output rows.
 *               0: a window of TM_PIECES vectors serves one output
 *   TM_PIECES   vectors of a window; 0: any number
 *   TM_FLOAT, TM_LEFT, TM_SIGNED, TM_CLAMPED   as for tm_conv2d_mve_s8
 *
 * Weights are the layout "mve_depthwise": int32 words, for each channel those of its window, its
 * bias, its scale (float), or its multiplier, negated right shift and, with TM_LEFT, left shift.
 * A word of the window is four taps one below the other, taps beyond the kernel being 0; words
 * go by columns, with all groups of four rows of a column, those beyond the kernel being 0.
 * TM_PAIRS: {0, column 0, 1, 2, 0}; else whole vectors.
 *
 * Where maps are one column wide, rows are taken for columns.
 *
 * Two rows are written at once with TM_PAIRS, a band where rows are taken for columns: only where
 * channels go by blocks does that ask for more of the input than one row at a time would.
 * Scratch: for each group of four rows and each column that windows cover the words of a block
 * of channels, 64 bytes more. Channels: all. */
#include "tm_conv2d.h"
#include "tm_mve.h"
#include "tm_rescale.h"

#if defined(TM_MVE_ASM)
#include <arm_mve.h>
#endif

#ifndef TM_DWCONV2D_MVE_ONCE
#define TM_DWCONV2D_MVE_ONCE

enum { TM_DW_WORDS = 1024, TM_DW_BLOCK = 16, TM_DW_PIECES = 16 };

/* What a call works on: rows of `columns` columns, taps apart by `dilation_w`. */
typedef struct {
  const tm_conv2d_s8_params *p;
  const tm_rows *in;
  int32_t upright; /* whether rows are taken for columns */
  int32_t in_w;    /* columns of the input */
  int32_t pad_left;
  int32_t columns; /* columns in scratch */
  int32_t groups;  /* of four rows */
  int32_t block;   /* channels in scratch */
  int8_t *scratch;
} tm_dw_map;

/* The last 1 to 15 bytes of four rows as words. */
static inline void tm_dw_rest(int8_t *to, const int8_t *const row[4], int32_t at, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t r = 0; r < 4; ++r) {
      to[4 * i + r] = row[r][at + i];
    }
  }
}

/* Words of `count` bytes of each of four rows. */
static void tm_dw_words(int8_t *to, const int8_t *const row[4], int32_t count) {
  const int32_t whole = count / 16;
#if defined(TM_MVE_ASM)
  if (whole > 0) {
    const int8_t *r0 = row[0];
    const int8_t *r1 = row[1];
    const int8_t *r2 = row[2];
    const int8_t *r3 = row[3];
    int8_t *end = to;
    __asm__ volatile(
        "dls lr, %[whole]\n"
        "1:\n\t"
        "vldrb.u8 q0, [%[r0]], #16\n\t"
        "vldrb.u8 q1, [%[r1]], #16\n\t"
        "vldrb.u8 q2, [%[r2]], #16\n\t"
        "vldrb.u8 q3, [%[r3]], #16\n\t"
        "vst40.8 {q0, q1, q2, q3}, [%[to]]\n\t"
        "vst41.8 {q0, q1, q2, q3}, [%[to]]\n\t"
        "vst42.8 {q0, q1, q2, q3}, [%[to]]\n\t"
        "vst43.8 {q0, q1, q2, q3}, [%[to]]!\n\t"
        "le lr, 1b\n\t"
        : [to] "+&r"(end), [r0] "+&r"(r0), [r1] "+&r"(r1), [r2] "+&r"(r2), [r3] "+&r"(r3)
        : [whole] "r"(whole)
        : "lr", "q0", "q1", "q2", "q3", "memory");
  }
#else
  for (int32_t i = 0; i < whole; ++i) {
    tm_dw_rest(to + 64 * i, row, 16 * i, 16);
  }
#endif
  if (count % 16 != 0) {
    tm_dw_rest(to + 64 * whole, row, 16 * whole, count % 16);
  }
}

/* Words of `columns` columns of a block of channels (a multiple of 16) from four rows. */
static void tm_dw_block_words(int8_t *to, const int8_t *const row[4], int32_t columns,
                              int32_t block, int32_t pixel) {
#if defined(TM_MVE_ASM)
  const int8_t *r0 = row[0];
  const int8_t *r1 = row[1];
  const int8_t *r2 = row[2];
  const int8_t *r3 = row[3];
  const int32_t skip = pixel - block;
  for (int32_t x = 0; x < columns; ++x) {
    __asm__ volatile(
        "dls lr, %[whole]\n"
        "1:\n\t"
        "vldrb.u8 q0, [%[r0]], #16\n\t"
        "vldrb.u8 q1, [%[r1]], #16\n\t"
        "vldrb.u8 q2, [%[r2]], #16\n\t"
        "vldrb.u8 q3, [%[r3]], #16\n\t"
        "vst40.8 {q0, q1, q2, q3}, [%[to]]\n\t"
        "vst41.8 {q0, q1, q2, q3}, [%[to]]\n\t"
        "vst42.8 {q0, q1, q2, q3}, [%[to]]\n\t"
        "vst43.8 {q0, q1, q2, q3}, [%[to]]!\n\t"
        "le lr, 1b\n\t"
        : [to] "+&r"(to), [r0] "+&r"(r0), [r1] "+&r"(r1), [r2] "+&r"(r2), [r3] "+&r"(r3)
        : [whole] "r"(block / 16)
        : "lr", "q0", "q1", "q2", "q3", "memory");
    r0 += skip;
    r1 += skip;
    r2 += skip;
    r3 += skip;
  }
#else
  for (int32_t x = 0; x < columns; ++x) {
    const int8_t *const at[4] = {row[0] + x * pixel, row[1] + x * pixel, row[2] + x * pixel,
                                 row[3] + x * pixel};
    tm_dw_rest(to + 4 * x * block, at, 0, block);
  }
#endif
}

/* Fills scratch for output row oy (`rows` input rows are read), channels [c, c + block). */
static void tm_dw_load(const tm_dw_map *map, int32_t oy, int32_t rows, int32_t c) {
  const tm_conv2d_s8_params *p = map->p;
  const int32_t pixel = p->in_c;
  const int32_t iy = oy * p->stride_h - p->pad_top;
  const int32_t left = map->pad_left < map->columns ? map->pad_left : map->columns;
  int32_t middle = map->columns - left;
  middle = middle < map->in_w ? middle : map->in_w;
  const int32_t right = map->columns - left - middle;
  int8_t *to = map->scratch;
  for (int32_t g = 0; g < map->groups; ++g) {
    const int8_t *row[4];
    for (int32_t r = 0; r < 4; ++r) {
      const int32_t tap = 4 * g + r < rows ? 4 * g + r : 0;
      if (map->upright) {
        row[r] = (const int8_t *)map->in->base + tap * p->dilation_h * pixel + c;
      } else {
        row[r] = (const int8_t *)tm_row(map->in, iy + tap * p->dilation_h) + c;
      }
    }
    if (left != 0) {
      tm_mve_fill(to, ((const int8_t *)map->in->pad)[0], 4 * left * map->block);
      to += 4 * left * map->block;
    }
    if (map->block == pixel) {
      tm_dw_words(to, row, middle * pixel);
    } else {
      tm_dw_block_words(to, row, middle, map->block, pixel);
    }
    to += 4 * middle * map->block;
    if (right != 0) {
      /* the map's padding, or columns that only outputs beyond the last one would read */
      tm_mve_fill(to, map->in->pad == NULL ? 0 : ((const int8_t *)map->in->pad)[0],
                  4 * right * map->block);
      to += 4 * right * map->block;
    }
  }
}

#if defined(TM_MVE_ASM)
static inline int32x4_t tm_dw_vector(int32_t a, int32_t b, int32_t c, int32_t d) {
  int32x4_t v;
  __asm__("vmov %e0, %1, %2\n\tvmov %f0, %3, %4" : "=&w"(v) : "r"(a), "r"(b), "r"(c), "r"(d));
  return v;
}
#endif

#endif

#if TM_FLOAT
#define TM_DW_FACTORS 1
#elif TM_LEFT
#define TM_DW_FACTORS 3
#else
#define TM_DW_FACTORS 2
#endif

#if defined(TM_MVE_ASM) && !TM_PAIRS && TM_PIECES == 0

/* Four sums of a channel whose bias and factors are at `record` to bytes in 32-bit lanes. */
static inline int32x4_t TM_INSTANCE(tm_dw_rescale)(const tm_conv2d_s8_params *p, int32x4_t v,
                                                   const int32_t *record) {
  v = vaddq_n_s32(v, record[0]);
#if TM_FLOAT
  float scale;
  memcpy(&scale, record + 1, sizeof scale);
  v = vcvtnq_s32_f32(vmulq_n_f32(vcvtq_f32_s32(v), scale));
#else
#if TM_LEFT
  v = vshlq_r_s32(v, record[3]);
#endif
  v = vqrdmulhq_n_s32(v, record[1]);
#if TM_SIGNED
  v = vmlaq_n_s32(v, vshrq_n_s32(v, 31), record[2] < 0 ? 1 : 0);
#endif
  v = vrshlq_n_s32(v, record[2]);
#endif
  v = vqaddq_n_s32(v, p->out_zero);
#if TM_CLAMPED
  v = vmaxq_s32(v, vdupq_n_s32(p->lo));
  v = vminq_s32(v, vdupq_n_s32(p->hi));
#else
  v = vreinterpretq_s32_s16(vqmovnbq_s32(vreinterpretq_s16_s32(v), v));
  v = vreinterpretq_s32_s8(vqmovnbq_s16(vreinterpretq_s8_s32(v), vreinterpretq_s16_s32(v)));
#endif
  return v;
}

#elif !defined(TM_MVE_ASM)

static inline int8_t TM_INSTANCE(tm_dw_rescale)(const tm_conv2d_s8_params *p, int32_t acc,
                                                const int32_t *record) {
  acc += record[0];
#if TM_FLOAT
  float scale;
  memcpy(&scale, record + 1, sizeof scale);
  acc = tm_round_even((float)acc * scale);
#elif TM_LEFT
  acc = tm_scale_fixed(acc, record[1], record[2] + record[3]);
#else
  acc = tm_scale_fixed(acc, record[1], record[2]);
#endif
  return (int8_t)tm_clamp(acc + p->out_zero, p->lo, p->hi);
}

#endif

#if defined(TM_MVE_ASM) && (TM_PAIRS || TM_PIECES > 0)
#if TM_FLOAT
#define TM_DW_RECORD "ldm r12!, {r5, r7}\n\t"
#define TM_DW_SCALE(q, spare) \
  "vcvt.f32.s32 " q ", " q    \
  "\n\t"                      \
  "vmul.f32 " q ", " q        \
  ", r7\n\t"                  \
  "vcvtn.s32.f32 " q ", " q "\n\t"
#else
#if TM_LEFT
#define TM_DW_RECORD "ldm r12!, {r5, r7, r8}\n\tldr r6, [r12], #4\n\tstr r6, %[left]\n\t"
#define TM_DW_TO_LEFT(q) "ldr r0, %[left]\n\tvshl.s32 " q ", r0\n\t"
#else
#define TM_DW_RECORD "ldm r12!, {r5, r7, r8}\n\t"
#define TM_DW_TO_LEFT(q)
#endif
#if TM_SIGNED
/* one less where a negative number is shifted to the right; bit 31 of r8 is that it is */
#define TM_DW_AWAY(q, spare) \
  "vshr.s32 " spare ", " q   \
  ", #31\n\t"                \
  "lsr r0, r8, #31\n\t"      \
  "vmla.s32 " q ", " spare ", r0\n\t"
#else
#define TM_DW_AWAY(q, spare)
#endif
#define TM_DW_SCALE(q, spare) \
  TM_DW_TO_LEFT(q)            \
  "vqrdmulh.s32 " q ", " q ", r7\n\t" TM_DW_AWAY(q, spare) "vrshl.s32 " q ", r8\n\t"
#endif
#if TM_SIGNED
#define TM_DW_RESTORE "ldr r0, %[columns]\n\tvldrw.u32 q4, [r0]\n\t"
#else
#define TM_DW_RESTORE
#endif
#if TM_CLAMPED
#define TM_DW_CLAMP(q, spare)     \
  "ldr r0, %[lo]\n\t"             \
  "vdup.16 " spare                \
  ", r0\n\t"                      \
  "vmax.s16 " q ", " q ", " spare \
  "\n\t"                          \
  "ldr r0, %[hi]\n\t"             \
  "vdup.16 " spare                \
  ", r0\n\t"                      \
  "vmin.s16 " q ", " q ", " spare "\n\t"
#else
#define TM_DW_CLAMP(q, spare)
#endif
#endif

#if TM_PAIRS

/* A block of channels for `rows` (1 or 2) output rows at y and y + below. */
#if defined(TM_MVE_ASM)

#define TM_DW_SUMS            \
  "vmladav.s8 r0, q0, q7\n\t" \
  "vmladav.s8 r2, q1, q7\n\t" \
  "vmladav.s8 r4, q2, q7\n\t" \
  "vmladav.s8 r6, q3, q7\n\t"
/* Two rows by four columns. */
#define TM_DW_EIGHT \
  "vldrw.u32 q7, [r1, q4]\n\t"    \
  "add r1, r10\n\t"               \
  TM_DW_SUMS                      \
  "vldrw.u32 q7, [r1, q4]\n\t"    \
  "vmov d12, r0, r2\n\t"          \
  "vmov d13, r4, r6\n\t"          \
  TM_DW_SUMS                      \
  "vadd.i32 q6, q6, r5\n\t"       \
  "add r1, r10\n\t"               \
  "vmov d14, r0, r2\n\t"          \
  "vmov d15, r4, r6\n\t"          \
  "vadd.i32 q7, q7, r5\n\t"       \
  TM_DW_SCALE("q6", "q4")         \
  TM_DW_SCALE("q7", "q4")         \
  TM_DW_RESTORE                   \
  "vqmovnb.s32 q6, q6\n\t"        \
  "vqmovnt.s32 q6, q7\n\t"        \
  "vqadd.s16 q6, q6, r9\n\t"      \
  TM_DW_CLAMP("q6", "q7")         \
  "vqmovnb.s16 q6, q6\n\t"        \
  "vpst\n\t"                      \
  "vstrbt.16 q6, [r3, q5]\n\t"    \
  "add r3, r11\n\t"

static __attribute__((noinline)) void TM_INSTANCE(tm_dw_channels)(const tm_dw_map *map,
                                                                  const int8_t *x,
                                                                  const int32_t *stream, int8_t *y,
                                                                  int32_t below, int32_t rows) {
  const tm_conv2d_s8_params *p = map->p;
  const int32_t pitch = 4 * map->block;
  const int32_t pixel = p->out_c;
  const int32_t whole = p->out_w / 4;
  const int32_t rest = p->out_w % 4;
  /* where columns are left over, the last four, some of them again */
  const int32_t back = whole > 0 && rest != 0 ? 4 - rest : 0;
  const int32_t last = rest != 0 && whole > 0;
  const int32_t all = (whole > 0 ? 4 * whole : 4) + (last ? 4 - back : 0);
  uint32_t tables[8];
  uint16_t places[8];
  struct {
    const int8_t *x;
    int8_t *y;
    const int32_t *stream, *stop;
    int32_t zero, x_step, y_step;
  } job = {x,           y,         stream,   stream + map->block * (6 + TM_DW_FACTORS),
           p->out_zero, 2 * pitch, 4 * pixel};
  struct {
    int32_t x, y;
  } to_last = {-back * pitch, -back * pixel}, to_next = {4 - all * pitch, 1 - all * pixel};
  const int32_t times = whole > 0 ? whole : 1;
  uint32_t mask = rows == 2 ? 0xFFFFu : 0x00FFu;
#if TM_CLAMPED
  const int32_t lo = p->lo;
  const int32_t hi = p->hi;
#endif
#if TM_LEFT
  int32_t left;
#endif
  const uint32_t *const columns = tables;
  const uint16_t *const places_at = places;
  const void *const job_at = &job;
  for (int32_t i = 0; i < 4; ++i) {
    tables[i] = (uint32_t)(i * pitch);
  }
  /* lanes: (row, column) (0, 0) (0, 2) (0, 1) (0, 3) (1, 0) (1, 2) (1, 1) (1, 3) */
  for (int32_t i = 0; i < 8; ++i) {
    const int32_t column = i % 4 / 2 + i % 2 * 2;
    places[i] = (uint16_t)(i / 4 * below + column * pixel);
    if (whole == 0 && column >= rest) {
      mask &= ~(3u << 2 * i);
    }
  }
  __asm__ volatile(
      "ldr r0, %[columns]\n\t"
      "vldrw.u32 q4, [r0]\n\t"
      "ldr r0, %[places]\n\t"
      "vldrh.u16 q5, [r0]\n\t"
      "ldr r0, %[mask]\n\t"
      "vmsr p0, r0\n\t"
      "ldr r0, %[job]\n\t"
      "ldm r0, {r1, r3, r12, lr}\n\t"
      "add r0, #16\n\t"
      "ldm r0, {r9, r10, r11}\n"
      "1:\n\t"
      "vldrb.u8 q1, [r12]\n\t"
      "vldrb.u8 q0, [r12, #4]\n\t"
      "add r12, #20\n\t" TM_DW_RECORD
      "ldr r0, %[times]\n\t"
      "vshl.i32 q2, q0, #8\n\t"
      "vshl.i32 q3, q1, #8\n\t"
      "dls lr, r0\n"
      "2:\n\t" TM_DW_EIGHT
      "le lr, 2b\n\t"
      "ldr r0, %[last]\n\t"
      "cmp r0, #0\n\t"
      "beq 3f\n\t"
      "ldrd r0, r2, %[to_last]\n\t"
      "add r1, r0\n\t"
      "add r3, r2\n\t" TM_DW_EIGHT
      "3:\n\t"
      "ldrd r0, r2, %[to_next]\n\t"
      "ldr r4, %[stop]\n\t"
      "add r1, r0\n\t"
      "add r3, r2\n\t"
      "cmp r12, r4\n\t"
      "bne 1b\n\t"
      :
#if TM_LEFT
      [left] "=m"(left)
#endif
      : [columns] "m"(columns), [places] "m"(places_at), [mask] "m"(mask), [job] "m"(job_at),
        [times] "m"(times), [last] "m"(last), [to_last] "m"(to_last), [to_next] "m"(to_next),
        [stop] "m"(job.stop)
#if TM_CLAMPED
            ,
        [lo] "m"(lo), [hi] "m"(hi)
#endif
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "q0",
        "q1", "q2", "q3", "q4", "q5", "q6", "q7", "cc", "memory");
}
#undef TM_DW_SUMS
#undef TM_DW_EIGHT

#else

static void TM_INSTANCE(tm_dw_channels)(const tm_dw_map *map, const int8_t *x,
                                        const int32_t *stream, int8_t *y, int32_t below,
                                        int32_t rows) {
  const tm_conv2d_s8_params *p = map->p;
  const int32_t pitch = 4 * map->block;
  const int32_t pixel = p->out_c;
  for (int32_t c = 0; c < map->block; ++c) {
    const int8_t *w = (const int8_t *)(stream + 1);
    for (int32_t r = 0; r < rows; ++r) {
      for (int32_t ox = 0; ox < p->out_w; ++ox) {
        int32_t acc = 0;
        for (int32_t i = 0; i < 12; ++i) {
          if (i % 4 + r < 4) {
            acc += w[i] * x[(ox + i / 4) * pitch + 4 * c + i % 4 + r];
          }
        }
        y[r * below + ox * pixel + c] = TM_INSTANCE(tm_dw_rescale)(p, acc, stream + 5);
      }
    }
    stream += 6 + TM_DW_FACTORS;
  }
}

#endif

#else

/* Channels of `x` for `count` outputs that lie `pixel` bytes apart. */
static
#if defined(TM_MVE_ASM)
    __attribute__((noinline, optimize("O2"))) /* -Os finds no registers for the assembly */
#endif
    void TM_INSTANCE(tm_dw_channels)(const tm_dw_map *map, const int8_t *x, const int32_t *stream,
                                     int8_t *y, int32_t pixel, int32_t count, int32_t step) {
  const tm_conv2d_s8_params *p = map->p;
  const int32_t pitch = 4 * map->block;
  const int32_t taps = map->upright ? 1 : p->kernel_w;
  const int32_t words = map->groups * taps;
  const int32_t pieces = (words + 3) / 4;
  uint32_t places[4 * TM_DW_PIECES];
  for (int32_t i = 0; i < 4 * pieces; ++i) {
    /* words beyond the last meet weights of 0 */
    const int32_t word = i < words ? i : 0;
    places[i] =
        (uint32_t)((word % map->groups * map->columns + word / map->groups * p->dilation_w) *
                   pitch);
  }
#if defined(TM_MVE_ASM) && TM_PIECES > 0
  const int32_t whole = count / 4;
  const int32_t rest = count % 4;
  const int32_t hop = step * pitch;
  /* where outputs are left over, the last four, some of them again */
  const int32_t back = whole > 0 && rest != 0 ? 4 - rest : 0;
  const int32_t last = rest != 0 && whole > 0;
  const int32_t all = (whole > 0 ? 4 * whole : 4) + (last ? 4 - back : 0);
  const int32_t times = whole > 0 ? whole : 1;
  const uint32_t mask = whole > 0 ? 0xFFFFu : (1u << 4 * rest) - 1u;
  const struct {
    const int8_t *x;
    int8_t *y;
    const int32_t *stream;
    int32_t zero, x_step, y_step;
  } job = {x, y, stream, p->out_zero, TM_PIECES == 1 ? 4 * hop : hop, 4 * pixel};
  const struct {
    int32_t x, y;
  } to_last = {-back * hop, -back * pixel}, to_next = {4 - all * hop, 1 - all * pixel};
  const int32_t *const stop = stream + map->block * (4 * pieces + 1 + TM_DW_FACTORS);
  const void *const job_at = &job;
  const uint32_t *const places_at = places;
#if TM_CLAMPED
  const int32_t lo = p->lo;
  const int32_t hi = p->hi;
#endif
#if TM_LEFT
  int32_t left;
#endif
  const struct {
    uint32_t lane[4];
  } outputs = {{0, (uint32_t)pixel, 2u * (uint32_t)pixel, 3u * (uint32_t)pixel}};
#if TM_PIECES == 1
  for (int32_t i = 1; i < 4; ++i) {
    for (int32_t k = 0; k < 4; ++k) {
      places[4 * i + k] = places[k] + (uint32_t)(i * hop);
    }
  }
#define TM_DW_PLACES            \
  "vldrw.u32 q1, [r0]\n\t"      \
  "vldrw.u32 q2, [r0, #16]\n\t" \
  "vldrw.u32 q3, [r0, #32]\n\t" \
  "vldrw.u32 q4, [r0, #48]\n\t"
#define TM_DW_WEIGHTS "vldrb.u8 q0, [r12], #16\n\t"
#define TM_DW_FOUR             \
  "vldrw.u32 q6, [r1, q1]\n\t" \
  "vldrw.u32 q7, [r1, q2]\n\t" \
  "vmladav.s8 r0, q0, q6\n\t"  \
  "vldrw.u32 q6, [r1, q3]\n\t" \
  "vmladav.s8 r2, q0, q7\n\t"  \
  "vldrw.u32 q7, [r1, q4]\n\t" \
  "vmladav.s8 r4, q0, q6\n\t"  \
  "add r1, r10\n\t"            \
  "vmladav.s8 r6, q0, q7\n\t"
#define TM_DW_TO "q5"
#define TM_DW_LOAD_TO
#elif TM_PIECES == 2
#define TM_DW_PLACES       \
  "vldrw.u32 q2, [r0]\n\t" \
  "vldrw.u32 q3, [r0, #16]\n\t"
#define TM_DW_WEIGHTS           \
  "vldrb.u8 q0, [r12], #16\n\t" \
  "vldrb.u8 q1, [r12], #16\n\t"
#define TM_DW_ONE(sum)         \
  "vldrw.u32 q6, [r1, q2]\n\t" \
  "vldrw.u32 q7, [r1, q3]\n\t" \
  "add r1, r10\n\t"            \
  "vmladav.s8 " sum            \
  ", q0, q6\n\t"               \
  "vmladava.s8 " sum ", q1, q7\n\t"
#define TM_DW_TO "q5"
#define TM_DW_LOAD_TO
#elif TM_PIECES == 3
#define TM_DW_PLACES            \
  "vldrw.u32 q3, [r0]\n\t"      \
  "vldrw.u32 q4, [r0, #16]\n\t" \
  "vldrw.u32 q5, [r0, #32]\n\t"
#define TM_DW_WEIGHTS           \
  "vldrb.u8 q0, [r12], #16\n\t" \
  "vldrb.u8 q1, [r12], #16\n\t" \
  "vldrb.u8 q2, [r12], #16\n\t"
#define TM_DW_ONE(sum)         \
  "vldrw.u32 q6, [r1, q3]\n\t" \
  "vldrw.u32 q7, [r1, q4]\n\t" \
  "vmladav.s8 " sum            \
  ", q0, q6\n\t"               \
  "vldrw.u32 q6, [r1, q5]\n\t" \
  "vmladava.s8 " sum           \
  ", q1, q7\n\t"               \
  "add r1, r10\n\t"            \
  "vmladava.s8 " sum ", q2, q6\n\t"
#define TM_DW_TO "q6"
#define TM_DW_LOAD_TO "vldrw.u32 q6, %[outputs]\n\t"
#else
#define TM_DW_PLACES       \
  "vldrw.u32 q4, [r0]\n\t" \
  "vldrw.u32 q5, [r0, #16]\n\t"
#define TM_DW_WEIGHTS           \
  "vldrb.u8 q0, [r12], #16\n\t" \
  "vldrb.u8 q1, [r12], #16\n\t" \
  "vldrb.u8 q2, [r12], #16\n\t" \
  "vldrb.u8 q3, [r12], #16\n\t"
#define TM_DW_ONE(sum)          \
  "vldrw.u32 q6, [r1, q4]\n\t"  \
  "vldrw.u32 q7, [r1, q5]\n\t"  \
  "vmladav.s8 " sum             \
  ", q0, q6\n\t"                \
  "vldrw.u32 q6, %[place2]\n\t" \
  "vmladava.s8 " sum            \
  ", q1, q7\n\t"                \
  "vldrw.u32 q7, [r1, q6]\n\t"  \
  "vldrw.u32 q6, %[place3]\n\t" \
  "vmladava.s8 " sum            \
  ", q2, q7\n\t"                \
  "vldrw.u32 q7, [r1, q6]\n\t"  \
  "add r1, r10\n\t"             \
  "vmladava.s8 " sum ", q3, q7\n\t"
#define TM_DW_TO "q6"
#define TM_DW_LOAD_TO "vldrw.u32 q6, %[outputs]\n\t"
  const struct {
    uint32_t lane[4];
  } place2 = {{places[8], places[9], places[10], places[11]}},
    place3 = {{places[12], places[13], places[14], places[15]}};
#endif
#if TM_PIECES > 1
#define TM_DW_FOUR TM_DW_ONE("r0") TM_DW_ONE("r2") TM_DW_ONE("r4") TM_DW_ONE("r6")
#endif
#define TM_DW_OUTPUTS \
  TM_DW_FOUR          \
  "vmov d14, r0, r2\n\t"            \
  "vmov d15, r4, r6\n\t"            \
  "vadd.i32 q7, q7, r5\n\t"         \
  TM_DW_SCALE("q7", "q6")           \
  "vqmovnb.s32 q7, q7\n\t"          \
  "vqadd.s16 q7, q7, r9\n\t"        \
  TM_DW_CLAMP("q7", "q6")           \
  TM_DW_LOAD_TO                     \
  "vqmovnb.s16 q7, q7\n\t"          \
  "vpst\n\t"                        \
  "vstrbt.32 q7, [r3, " TM_DW_TO "]\n\t" \
  "add r3, r11\n\t"
  __asm__ volatile(
      "vldrw.u32 q5, %[outputs]\n\t"
      "ldr r0, %[places]\n\t" TM_DW_PLACES
      "ldr r0, %[mask]\n\t"
      "vmsr p0, r0\n\t"
      "ldr r0, %[job]\n\t"
      "ldm r0, {r1, r3, r12}\n\t"
      "add r0, #12\n\t"
      "ldm r0, {r9, r10, r11}\n"
      "1:\n\t" TM_DW_WEIGHTS TM_DW_RECORD
      "ldr r0, %[times]\n\t"
      "dls lr, r0\n"
      "2:\n\t" TM_DW_OUTPUTS
      "le lr, 2b\n\t"
      "ldr r0, %[last]\n\t"
      "cmp r0, #0\n\t"
      "beq 3f\n\t"
      "ldrd r0, r2, %[to_last]\n\t"
      "add r1, r0\n\t"
      "add r3, r2\n\t" TM_DW_OUTPUTS
      "3:\n\t"
      "ldrd r0, r2, %[to_next]\n\t"
      "ldr r4, %[stop]\n\t"
      "add r1, r0\n\t"
      "add r3, r2\n\t"
      "cmp r12, r4\n\t"
      "bne 1b\n\t"
      :
#if TM_LEFT
      [left] "=m"(left)
#endif
      : [places] "m"(places_at), [mask] "m"(mask), [job] "m"(job_at), [times] "m"(times),
        [last] "m"(last), [to_last] "m"(to_last), [to_next] "m"(to_next), [stop] "m"(stop),
        [outputs] "m"(outputs)
#if TM_CLAMPED
            ,
        [lo] "m"(lo), [hi] "m"(hi)
#endif
#if TM_PIECES == 4
                          ,
        [place2] "m"(place2), [place3] "m"(place3)
#endif
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "q0",
        "q1", "q2", "q3", "q4", "q5", "q6", "q7", "cc", "memory");
#undef TM_DW_PLACES
#undef TM_DW_WEIGHTS
#undef TM_DW_ONE
#undef TM_DW_FOUR
#undef TM_DW_TO
#undef TM_DW_LOAD_TO
#undef TM_DW_OUTPUTS
#elif defined(TM_MVE_ASM)
  const uint32x4_t to = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)pixel);
  for (int32_t c = map->block; c > 0; --c) {
    const int8_t *from = x;
    int8_t *at = y;
    const int8_t *w = (const int8_t *)stream;
    const int32_t *record = stream + 4 * pieces;
    for (int32_t left = count; left > 0; left -= 4) {
      int32_t sum[4];
      for (int32_t i = 0; i < 4; ++i) {
        sum[i] = 0;
        for (int32_t k = 0; k < pieces; ++k) {
          const int32x4_t window = vldrwq_gather_offset_s32((const int32_t *)(const void *)from,
                                                            vldrwq_u32(places + 4 * k));
          sum[i] = vmladavaq_s8(sum[i], vreinterpretq_s8_s32(window), vldrbq_s8(w + 16 * k));
        }
        from += step * pitch;
      }
      const int32x4_t v =
          TM_INSTANCE(tm_dw_rescale)(p, tm_dw_vector(sum[0], sum[1], sum[2], sum[3]), record);
      vstrbq_scatter_offset_p_s32(at, to, v, vctp32q((uint32_t)left));
      at += 4 * pixel;
    }
    stream = record + 1 + TM_DW_FACTORS;
    x += 4;
    ++y;
  }
#else
  for (int32_t c = 0; c < map->block; ++c) {
    const int8_t *w = (const int8_t *)stream;
    const int32_t *record = stream + 4 * pieces;
    for (int32_t o = 0; o < count; ++o) {
      int32_t acc = 0;
      for (int32_t i = 0; i < 4 * words; ++i) {
        acc += w[i] * x[o * step * pitch + (int32_t)places[i / 4] + 4 * c + i % 4];
      }
      y[o * pixel + c] = TM_INSTANCE(tm_dw_rescale)(p, acc, record);
    }
    stream = record + 1 + TM_DW_FACTORS;
  }
#endif
}

#endif

static tm_status TM_INSTANCE(tm_dwconv2d_mve_s8)(const tm_conv2d_s8_params *p, const tm_rows *in,
                                                 const int32_t *weights, const int32_t *bias,
                                                 const tm_rows *out, const tm_part *part,
                                                 void *scratch) {
  tm_dw_map map;
  (void)bias;
  map.p = p;
  map.in = in;
  map.scratch = (int8_t *)scratch;
#if TM_PAIRS
  map.upright = 0;
  map.in_w = p->in_w;
  map.pad_left = p->pad_left;
  map.columns = (p->out_w + 3) / 4 * 4 + 2;
  map.groups = 1;
  const int32_t words = 6 + TM_DW_FACTORS;
#else
  /* one column, no padding and all rows side by side: rows are taken for columns */
  tm_rows turned = *in;
  map.upright = p->in_w == 1 && p->kernel_w == 1 && in->pad == NULL && in->ring == in->rows &&
                in->row_bytes == p->in_c && out->ring == out->rows && out->row_bytes == p->out_c;
  map.groups = (p->kernel_h + 3) / 4;
  const int32_t step = map.upright ? p->stride_h : p->stride_w;
  /* output rows at once: as many as fit with all channels, but not less than four */
  int32_t band = 1;
  if (map.upright) {
    const int32_t fit = TM_DW_WORDS / (map.groups * p->in_c);
    band = fit < 1 ? 4 : ((fit - 1) / step + 1) / 4 * 4;
    band = band > 4 ? band : 4;
    map.in = &turned;
    map.pad_left = 0;
    map.columns = (band - 1) * step + 1;
  } else {
    map.in_w = p->in_w;
    map.pad_left = p->pad_left;
    map.columns = ((p->out_w + 3) / 4 * 4 - 1) * step + (p->kernel_w - 1) * p->dilation_w + 1;
  }
  const int32_t words =
      (map.groups * (map.upright ? 1 : p->kernel_w) + 3) / 4 * 4 + 1 + TM_DW_FACTORS;
#endif
  map.block = p->in_c;
  if (map.groups * map.columns * p->in_c > TM_DW_WORDS) {
    /* as few blocks as fit, all of about the same size */
    int32_t most = TM_DW_WORDS / (map.groups * map.columns) / TM_DW_BLOCK * TM_DW_BLOCK;
    most = most > TM_DW_BLOCK ? most : TM_DW_BLOCK;
    const int32_t blocks = (p->in_c + most - 1) / most;
    map.block = (p->in_c + blocks * TM_DW_BLOCK - 1) / (blocks * TM_DW_BLOCK) * TM_DW_BLOCK;
    map.block = map.block < p->in_c ? map.block : p->in_c;
  }
  for (int32_t oy = part->row0; oy < part->row1;) {
    int8_t *y = (int8_t *)tm_row_out(out, oy);
#if TM_PAIRS
    /* pairs of rows begin at even ones: the planner knows of two rows at once */
    int32_t rows = 1;
    int32_t below = 0;
    if (oy % 2 == 0 && oy + 1 < part->row1) {
      below = (int32_t)((int8_t *)tm_row_out(out, oy + 1) - y);
      /* what 16 bits can tell from the first place written to the last */
      if (below > 0 && below + 3 * p->out_c < 1 << 16) {
        rows = 2;
      }
    }
#else
    /* bands begin at multiples of their height: the planner knows of so many rows at once */
    int32_t rows = band - oy % band;
    rows = rows < part->row1 - oy ? rows : part->row1 - oy;
    const int32_t count = map.upright ? rows : p->out_w;
    if (map.upright) {
      turned.base = in->base + oy * step * p->in_c;
      map.in_w = (rows - 1) * step + 1;
    }
#endif
    for (int32_t c = 0; c < p->in_c; c += map.block) {
      /* the last block overlaps the one before if channels are left over */
      const int32_t first = c + map.block <= p->in_c ? c : p->in_c - map.block;
#if TM_PAIRS
      tm_dw_load(&map, oy, p->kernel_h + rows - 1, first);
      TM_INSTANCE(tm_dw_channels)(&map, map.scratch, weights + first * words, y + first, below,
                                  rows);
#else
      tm_dw_load(&map, oy, p->kernel_h, first);
      TM_INSTANCE(tm_dw_channels)(&map, map.scratch, weights + first * words, y + first, p->out_c,
                                  count, step);
#endif
    }
    oy += rows;
  }
  return TM_OK;
}

#undef TM_DW_RECORD
#undef TM_DW_SCALE
#undef TM_DW_TO_LEFT
#undef TM_DW_AWAY
#undef TM_DW_RESTORE
#undef TM_DW_CLAMP
#undef TM_DW_FACTORS
