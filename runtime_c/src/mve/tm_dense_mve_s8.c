/* Fully connected layer on cores with MVE, weights of zero point 0: eight outputs of a row are
 * summed in registers, 16 products an instruction.
 *
 * Compiled once for each TM_FLOAT, TM_LEFT, TM_SIGNED, TM_CLAMPED (as for tm_conv2d_mve_s8).
 *
 * Weights are the layout "mve_dense": int32 words; for each eight outputs their biases, for each
 * 16 inputs the weights of each output, the factors: scales (float), or multipliers, negated
 * right shifts and, with TM_LEFT, left shifts, each those of outputs 0, 2, 4, 6, 1, 3, 5, 7 of
 * the eight, and so are the biases and weights. Weights beyond the depth and outputs beyond the
 * last are 0.
 *
 * With TM_VARIED the bias is an array in RAM and there are none in the stream.
 *
 * Scratch: with TM_VARIED a word for each output, filled up to eights; the depth in whole pieces of
 * 16, where it is no multiple. */
#include "tm_dense.h"
#include "tm_mve.h"
#include "tm_rescale.h"

#ifndef TM_VARIED
#define TM_VARIED 0
#endif
#if TM_FLOAT
#define TM_DENSE_RECORD 8
#elif TM_LEFT
#define TM_DENSE_RECORD 24
#else
#define TM_DENSE_RECORD 16
#endif

#if defined(TM_MVE_ASM)

#define TM_DENSE_PIECE(sum, spare) \
  "vldrw.u32 " spare               \
  ", [r3], #16\n\t"                \
  "vmladava.s8 " sum ", " spare ", q0\n\t"

#if TM_FLOAT
#define TM_DENSE_SCALE          \
  "vldrw.u32 q4, [r3], #16\n\t" \
  "vldrw.u32 q5, [r3], #16\n\t" \
  "vcvt.f32.s32 q0, q0\n\t"     \
  "vcvt.f32.s32 q1, q1\n\t"     \
  "vmul.f32 q0, q0, q4\n\t"     \
  "vmul.f32 q1, q1, q5\n\t"     \
  "vcvtn.s32.f32 q0, q0\n\t"    \
  "vcvtn.s32.f32 q1, q1\n\t"
#else
#if TM_LEFT
#define TM_DENSE_TO_LEFT        \
  "vldrw.u32 q2, [r3, #64]\n\t" \
  "vldrw.u32 q3, [r3, #80]\n\t" \
  "vshl.s32 q0, q0, q2\n\t"     \
  "vshl.s32 q1, q1, q3\n\t"
#define TM_DENSE_SKIP "adds r3, #32\n\t"
#else
#define TM_DENSE_TO_LEFT
#define TM_DENSE_SKIP
#endif
#if TM_SIGNED
/* one less where a negative number is shifted to the right */
#define TM_DENSE_AWAY        \
  "vand q2, q0, q4\n\t"      \
  "vshr.s32 q2, q2, #31\n\t" \
  "vqadd.s32 q0, q0, q2\n\t" \
  "vand q2, q1, q5\n\t"      \
  "vshr.s32 q2, q2, #31\n\t" \
  "vqadd.s32 q1, q1, q2\n\t"
#else
#define TM_DENSE_AWAY
#endif
#define TM_DENSE_SCALE                        \
  TM_DENSE_TO_LEFT                            \
  "vldrw.u32 q2, [r3], #16\n\t"               \
  "vldrw.u32 q3, [r3], #16\n\t"               \
  "vldrw.u32 q4, [r3], #16\n\t"               \
  "vldrw.u32 q5, [r3], #16\n\t" TM_DENSE_SKIP \
  "vqrdmulh.s32 q0, q0, q2\n\t"               \
  "vqrdmulh.s32 q1, q1, q3\n\t" TM_DENSE_AWAY \
  "vrshl.s32 q0, q0, q4\n\t"                  \
  "vrshl.s32 q1, q1, q5\n\t"
#endif
#if TM_CLAMPED
#define TM_DENSE_CLAMP         \
  "ldrd r0, r2, %[limits]\n\t" \
  "vdup.16 q1, r0\n\t"         \
  "vmax.s16 q0, q0, q1\n\t"    \
  "vdup.16 q1, r2\n\t"         \
  "vmin.s16 q0, q0, q1\n\t"
#else
#define TM_DENSE_CLAMP
#endif

#if TM_VARIED
#define TM_DENSE_START    \
  "ldr r12, %[bias]\n\t"  \
  "add r11, r12, #32\n\t" \
  "str r11, %[bias]\n\t"  \
  "ldm r12, {r0, r2, r4, r6, r8, r10, r12, lr}\n\t"
#else
#define TM_DENSE_START "ldm r3!, {r0, r2, r4, r6, r8, r10, r12, lr}\n\t"
#endif

/* `outs` outputs of one row. `bias` is in the order of the stream; NULL: in it. */
static __attribute__((noinline)) void TM_INSTANCE(tm_dense_row)(const tm_dense_s8_params *p,
                                                                const int8_t *x,
                                                                const int32_t *stream,
                                                                const int32_t *bias, int8_t *y) {
  const struct {
    const int8_t *x;
    int32_t pairs;
  } row = {x, (p->depth + 15) / 16 / 2};
  const int32_t odd = (p->depth + 15) / 16 % 2;
  const int32_t zero = p->out_zero;
  const int32_t outs = p->outs;
#if TM_CLAMPED
  const struct {
    int32_t lo, hi;
  } limits = {p->lo, p->hi};
#endif
  __asm__ volatile(
      "ldr r3, %[stream]\n\t"
      "ldr r5, %[y]\n\t"
      "ldr r7, %[outs]\n\t"
      "ldr r0, %[zero]\n\t"
      "vdup.16 q7, r0\n"
      "1:\n\t"
      "ldrd r1, r9, %[row]\n\t"
      TM_DENSE_START
      "ldr r11, %[odd]\n\t"
      "cmp r11, #0\n\t"
      "beq 2f\n\t"
      "vldrb.u8 q0, [r1], #16\n\t"
      TM_DENSE_PIECE("r0", "q1") TM_DENSE_PIECE("r2", "q2")
      TM_DENSE_PIECE("r4", "q1") TM_DENSE_PIECE("r6", "q2")
      TM_DENSE_PIECE("r8", "q1") TM_DENSE_PIECE("r10", "q2")
      TM_DENSE_PIECE("r12", "q1") TM_DENSE_PIECE("lr", "q2")
      "2:\n\t"
      "cmp r9, #0\n\t"
      "beq 4f\n"
      "3:\n\t"
      ".rept 2\n\t"
      "vldrb.u8 q0, [r1], #16\n\t"
      TM_DENSE_PIECE("r0", "q1") TM_DENSE_PIECE("r2", "q2")
      TM_DENSE_PIECE("r4", "q1") TM_DENSE_PIECE("r6", "q2")
      TM_DENSE_PIECE("r8", "q1") TM_DENSE_PIECE("r10", "q2")
      TM_DENSE_PIECE("r12", "q1") TM_DENSE_PIECE("lr", "q2")
      ".endr\n\t"
      "subs r9, #1\n\t"
      "bne 3b\n"
      "4:\n\t"
      "vmov d0, r0, r2\n\t"
      "vmov d1, r4, r6\n\t"
      "vmov d2, r8, r10\n\t"
      "vmov d3, r12, lr\n\t"
      TM_DENSE_SCALE
      "vqmovnb.s32 q0, q0\n\t"
      "vqmovnt.s32 q0, q1\n\t"
      "vqadd.s16 q0, q0, q7\n\t"
      TM_DENSE_CLAMP
      "vqmovnb.s16 q0, q0\n\t"
      "subs r7, #8\n\t"
      "blt 5f\n\t"
      "vstrb.16 q0, [r5], #8\n\t"
      "bne 1b\n\t"
      "b 6f\n"
      "5:\n\t"
      "adds r7, #8\n\t"
      "vctp.16 r7\n\t"
      "vpst\n\t"
      "vstrbt.16 q0, [r5]\n"
      "6:\n\t"
      : [bias] "+m"(bias)
      : [stream] "m"(stream), [y] "m"(y), [outs] "m"(outs), [zero] "m"(zero), [row] "m"(row),
        [odd] "m"(odd)
#if TM_CLAMPED
        , [limits] "m"(limits)
#endif
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",
        "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "cc", "memory");
}
#undef TM_DENSE_START
#undef TM_DENSE_PIECE
#undef TM_DENSE_SCALE
#undef TM_DENSE_TO_LEFT
#undef TM_DENSE_SKIP
#undef TM_DENSE_AWAY
#undef TM_DENSE_CLAMP

#else

static void TM_INSTANCE(tm_dense_row)(const tm_dense_s8_params *p, const int8_t *x,
                                      const int32_t *stream, const int32_t *bias, int8_t *y) {
  const int32_t pieces = (p->depth + 15) / 16;
  const int32_t before = TM_VARIED ? 0 : 8;
  for (int32_t o = 0; o < p->outs; ++o) {
    const int32_t *block = stream + o / 8 * (before + 32 * pieces + TM_DENSE_RECORD);
    const int32_t place = o % 2 * 4 + o % 8 / 2;
    const int8_t *w = (const int8_t *)(block + before);
    const int32_t *record = block + before + 32 * pieces + place;
    int32_t acc = TM_VARIED ? bias[o / 8 * 8 + place] : block[place];
    for (int32_t i = 0; i < p->depth; ++i) {
      acc += x[i] * w[(i / 16 * 8 + place) * 16 + i % 16];
    }
#if TM_FLOAT
    float scale;
    memcpy(&scale, record, sizeof scale);
    acc = tm_round_even((float)acc * scale);
#elif TM_LEFT
    acc = tm_scale_fixed(acc, record[0], record[8] + record[16]);
#else
    acc = tm_scale_fixed(acc, record[0], record[8]);
#endif
    y[o] = (int8_t)tm_clamp(acc + p->out_zero, p->lo, p->hi);
  }
}

#endif

static tm_status TM_INSTANCE(tm_dense_mve_s8)(const tm_dense_s8_params *p, const int8_t *in,
                                              const int32_t *weights, const int32_t *bias,
                                              int8_t *out, void *scratch) {
#if TM_VARIED
  int32_t *const biases = (int32_t *)scratch;
  const int32_t filled = (p->outs + 7) / 8 * 8;
  for (int32_t o = 0; o < filled; ++o) {
    biases[o / 8 * 8 + o % 2 * 4 + o % 8 / 2] =
        o < p->outs ? tm_bias(bias, TM_BIAS_LIMIT(p), o) : 0;
  }
  scratch = biases + filled;
#else
  const int32_t *const biases = NULL;
  (void)bias;
#endif
  for (int32_t r = 0; r < p->rows; ++r) {
    const int8_t *x = in;
    if (p->depth % 16 != 0) {
      /* no read beyond the input */
      tm_mve_copy((int8_t *)scratch, in, p->depth);
      x = (const int8_t *)scratch;
    }
    TM_INSTANCE(tm_dense_row)(p, x, weights, biases, out);
    in += p->depth;
    out += p->outs;
  }
  return TM_OK;
}

#undef TM_DENSE_RECORD
#undef TM_VARIED
