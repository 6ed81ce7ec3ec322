/* Fully connected layer on cores with SMLAD: four outputs at a time, each byte of the input
 * widened once for them (13 instructions for 16 products where wide, else 20).
 *
 * Compiled once for each TM_WIDE, TM_SHIFT, TM_SIGNED and TM_CLAMPED, as tm_conv2d_gemm_s8.
 *
 * Weights are int32 words; for each four outputs (the last filled up with zeros) their biases,
 * the words of the four for each pair of inputs (layout "dense_4_wide": two weights of 16 bits,
 * scaled by a power of two) or for each four inputs (layout "dense_4_narrow": weights of 8
 * bits), their rescaling records, as in tm_conv2d_gemm_s8. Wide inputs are paired as SXTB16
 * widens them: (0, 2), (1, 3), ..., rest (0, 1), (2, none).
 *
 * With TM_VARIED the bias is an array in RAM: there are no biases in the stream, sums start from
 * those that tm_prepare_biases makes. With TM_PLAIN (the depth, a multiple of 4, with at least four
 * outputs) so are the weights, OI; p->records are the records, narrow.
 *
 * Scratch: none; with TM_VARIED a word for each output, filled up to fours. */
#include <stddef.h>
#include <string.h>

#include "tm_dense.h"
#include "tm_dsp.h"
#include "tm_rescale.h"

#ifndef TM_VARIED
#define TM_VARIED 0
#endif
#ifndef TM_PLAIN
#define TM_PLAIN 0
#endif

/* Words of a rescaling record, and of weights for `depth` inputs of four outputs. */
#define TM_DENSE_RECORD ((TM_WIDE ? 2 : 4) + TM_SIGNED)
#define TM_DENSE_WORDS(depth) (TM_WIDE ? ((depth) + 1) / 2 * 4 : ((depth) + 3) / 4 * 4)

#ifndef TM_DENSE_QUADS_ONCE
#define TM_DENSE_QUADS_ONCE
/* What a block of four outputs reads beside the input. */
typedef struct {
  const int32_t *stream;
  const int32_t *bias, *records; /* where they are not in the stream */
} tm_dense_from;
#endif

#if TM_PLAIN
#define TM_DENSE_WEIGHT int8_t
/* Sums of `count` outputs in C. Returns their records. */
static inline const int32_t *TM_INSTANCE(tm_dense_sums)(const int8_t *x, const tm_dense_from *from,
                                                        int32_t depth, int32_t count,
                                                        uint32_t acc[4]) {
  const int8_t *w = (const int8_t *)from->stream;
  for (int32_t o = 0; o < count; ++o, w += TM_PLAIN) {
    acc[o] = (uint32_t)from->bias[o];
    for (int32_t i = 0; i < depth; i += 4) {
      const uint32_t a = tm_load4(x + i), b = tm_load4(w + i);
      acc[o] = tm_smlad(tm_sxtb16(a), tm_sxtb16(b), acc[o]);
      acc[o] = tm_smlad(tm_sxtb16_ror8(a), tm_sxtb16_ror8(b), acc[o]);
    }
  }
  return from->records;
}
#else
#define TM_DENSE_WEIGHT int32_t
/* Sums of four outputs in C. Returns their records. */
static inline const int32_t *TM_INSTANCE(tm_dense_sums)(const int8_t *x, const tm_dense_from *from,
                                                        int32_t depth, int32_t count,
                                                        uint32_t acc[4]) {
  const int32_t *stream = from->stream;
  (void)count;
#if TM_VARIED
  memcpy(acc, from->bias, (size_t)count * sizeof acc[0]);
  for (int32_t o = count; o < 4; ++o) {
    acc[o] = 0;
  }
#else
  memcpy(acc, stream, 4 * sizeof acc[0]);
  stream += 4;
#endif
  for (; depth > 0; depth -= 4, x += 4) {
    uint32_t pair[2];
    if (depth >= 4) {
      const uint32_t word = tm_load4(x);
      pair[0] = tm_sxtb16(word);
      pair[1] = tm_sxtb16_ror8(word);
#if TM_WIDE
    } else {
      pair[0] = tm_pack16(x[0], depth >= 2 ? x[1] : 0);
      pair[1] = depth == 3 ? tm_pack16(x[2], 0) : 0u;
#else
    } else {
      pair[0] = tm_pack16(x[0], depth == 3 ? x[2] : 0);
      pair[1] = depth >= 2 ? tm_pack16(x[1], 0) : 0u;
#endif
    }
#if TM_WIDE
    for (int32_t i = 0; i < (depth >= 3 ? 2 : 1); ++i) {
      for (int32_t o = 0; o < 4; ++o) {
        acc[o] = tm_smlad(pair[i], (uint32_t)stream[o], acc[o]);
      }
      stream += 4;
    }
#else
    for (int32_t o = 0; o < 4; ++o) {
      acc[o] = tm_smlad(pair[0], tm_sxtb16((uint32_t)stream[o]), acc[o]);
      acc[o] = tm_smlad(pair[1], tm_sxtb16_ror8((uint32_t)stream[o]), acc[o]);
    }
    stream += 4;
#endif
  }
  return stream;
}
#endif

/* Up to four outputs in C: blocks with an output that is rescaled by the definition, and
 * compilers without the assembly. */
static TM_NOINLINE void TM_INSTANCE(tm_dense_block)(const tm_dense_s8_params *p, const int8_t *x,
                                                    const tm_dense_from *from, int8_t *out,
                                                    int32_t o, int32_t exceptional) {
  const int32_t count = p->outs - o < 4 ? p->outs - o : 4;
  uint32_t acc[4];
  const int32_t *record = TM_INSTANCE(tm_dense_sums)(x, from, p->depth, count, acc);
  for (int32_t i = 0; i < count; ++i) {
    int32_t y;
    if (exceptional) {
      y = tm_rescale((int32_t)acc[i], p->multiplier, p->shift, p->scale, o + i) + p->out_zero;
    } else {
#if TM_WIDE
      const int32_t sum = (int32_t)acc[i];
      const int32_t down = TM_SHIFT;
      const int32_t *factors = record;
#else
      const int32_t sum = (int32_t)((acc[i] << TM_SHIFT) + (uint32_t)record[0]);
      const int32_t down = record[1];
      const int32_t *factors = record + 2;
#endif
      y = tm_smmla(sum, factors[0], factors[1]);
#if TM_SIGNED
      y -= sum < 0 ? factors[2] : 0;
#endif
      y = tm_clamp(y >> down, -128, 127);
    }
    out[i] = (int8_t)tm_clamp(y, p->lo, p->hi);
    record += TM_DENSE_RECORD;
  }
}

#if defined(TM_DSP_ASM)
/* clang-format off */
#if TM_WIDE
#define TM_DENSE_PRODUCTS(pair)       \
  "ldm.w r0!, {r4, r5, r6, r11}\n\t"  \
  "smlad r7, " pair ", r4, r7\n\t"    \
  "smlad r8, " pair ", r5, r8\n\t"    \
  "smlad r9, " pair ", r6, r9\n\t"    \
  "smlad r10, " pair ", r11, r10\n\t"
/* 52 bytes of code each: the entry into the loop is computed */
#define TM_DENSE_QUAD          \
  "ldr.w r2, [r1], #4\n\t"     \
  "sxtb16 r3, r2\n\t"          \
  "sxtb16 r2, r2, ror #8\n\t"  \
  TM_DENSE_PRODUCTS("r3")      \
  TM_DENSE_PRODUCTS("r2")
#define TM_DENSE_LOOP                                      \
  "ldr r2, %[skip]\n\t"                                    \
  "cmp r1, lr\n\t"                                         \
  "beq 3f\n\t"                                             \
  ".balign 4\n\t"                                          \
  "add pc, r2\n\t"                                         \
  "nop\n"                                                  \
  "2:\n\t"                                                 \
  TM_DENSE_QUAD TM_DENSE_QUAD TM_DENSE_QUAD TM_DENSE_QUAD  \
  "cmp r1, lr\n\t"                                         \
  "bne 2b\n"                                               \
  "3:\n\t"
/* what is beyond whole quads; a missing half meets a weight of 0 */
#define TM_DENSE_REST           \
  "ldr lr, %[depth]\n\t"        \
  "tst lr, #3\n\t"              \
  "beq 5f\n\t"                  \
  "tst lr, #2\n\t"              \
  "beq 4f\n\t"                  \
  "ldrsb r2, [r1], #1\n\t"      \
  "ldrsb r3, [r1], #1\n\t"      \
  "pkhbt r2, r2, r3, lsl #16\n\t" \
  TM_DENSE_PRODUCTS("r2")       \
  "tst lr, #1\n\t"              \
  "beq 5f\n"                    \
  "4:\n\t"                      \
  "ldrsb r2, [r1]\n\t"          \
  TM_DENSE_PRODUCTS("r2")       \
  "5:\n\t"
#else
#define TM_DENSE_PRODUCT(acc, w)         \
  "sxtb16 r12, " w "\n\t"                \
  "smlad " acc ", r3, r12, " acc "\n\t"  \
  "sxtb16 r12, " w ", ror #8\n\t"        \
  "smlad " acc ", r2, r12, " acc "\n\t"
#if TM_PLAIN
#define TM_DENSE_LOAD               \
  "ldr r5, [r0, %[depth1]]\n\t"     \
  "ldr r6, [r0, %[depth2]]\n\t"     \
  "ldr r11, [r0, %[depth3]]\n\t"    \
  "ldr r4, [r0], #4\n\t"
#else
#define TM_DENSE_LOAD "ldm.w r0!, {r4, r5, r6, r11}\n\t"
#endif
#define TM_DENSE_PRODUCTS                                      \
  TM_DENSE_LOAD                                                \
  "sxtb16 r3, r2\n\t"                                          \
  "sxtb16 r2, r2, ror #8\n\t"                                  \
  TM_DENSE_PRODUCT("r7", "r4") TM_DENSE_PRODUCT("r8", "r5")    \
  TM_DENSE_PRODUCT("r9", "r6") TM_DENSE_PRODUCT("r10", "r11")
#define TM_DENSE_LOOP          \
  "cmp r1, lr\n\t"             \
  "beq 3f\n"                   \
  "2:\n\t"                     \
  "ldr r2, [r1], #4\n\t"       \
  TM_DENSE_PRODUCTS            \
  "cmp r1, lr\n\t"             \
  "bne 2b\n"                   \
  "3:\n\t"
#if TM_PLAIN
#define TM_DENSE_REST
#else
#define TM_DENSE_REST                \
  "ldr lr, %[depth]\n\t"             \
  "ands lr, lr, #3\n\t"              \
  "beq 5f\n\t"                       \
  "ldrb r2, [r1]\n\t"                \
  "cmp lr, #2\n\t"                   \
  "blo 4f\n\t"                       \
  "ldrb r3, [r1, #1]\n\t"            \
  "orr r2, r2, r3, lsl #8\n\t"       \
  "beq 4f\n\t"                       \
  "ldrb r3, [r1, #2]\n\t"            \
  "orr r2, r2, r3, lsl #16\n"        \
  "4:\n\t"                           \
  TM_DENSE_PRODUCTS                  \
  "5:\n\t"
#endif
#endif
#if TM_VARIED
#define TM_DENSE_START                  \
  "ldr r2, %[bias]\n\t"                 \
  "ldm r2!, {r7, r8, r9, r10}\n\t"      \
  "str r2, %[bias]\n\t"
#else
#define TM_DENSE_START "ldm r0!, {r7, r8, r9, r10}\n\t"
#endif
#if TM_PLAIN
#define TM_DENSE_FIRST
#define TM_DENSE_WEIGHTS "ldr r0, %[stream]\n\t"
#define TM_DENSE_RECORDS         \
  "addw r0, r0, %[depth3]\n\t"   \
  "str r0, %[stream]\n\t"        \
  "ldr r0, %[records]\n\t"
#define TM_DENSE_NEXT "str r0, %[records]\n\t"
#else
#define TM_DENSE_FIRST "ldr r0, %[stream]\n"
#define TM_DENSE_WEIGHTS
#define TM_DENSE_RECORDS
#define TM_DENSE_NEXT
#endif
#if TM_WIDE
#define TM_DENSE_UP(acc)
#define TM_DENSE_DOWN(acc) "ssat " acc ", #8, " acc ", asr %[shift]\n\t"
#define TM_DENSE_LOAD_UP
#else
#define TM_DENSE_UP(acc) "add " acc ", r5, " acc ", lsl %[shift]\n\t"
#define TM_DENSE_DOWN(acc) "asr " acc ", " acc ", r6\n\t ssat " acc ", #8, " acc "\n\t"
#define TM_DENSE_LOAD_UP "ldrd r5, r6, [r0], #8\n\t"
#endif
#if TM_SIGNED
#define TM_DENSE_SCALE(acc)             \
  TM_DENSE_LOAD_UP                      \
  "ldm r0!, {r2, r3, r4}\n\t"           \
  TM_DENSE_UP(acc)                      \
  "and r4, r4, " acc ", asr #31\n\t"    \
  "smmla " acc ", " acc ", r2, r3\n\t"  \
  "sub " acc ", " acc ", r4\n\t"        \
  TM_DENSE_DOWN(acc)
#else
#define TM_DENSE_SCALE(acc)             \
  TM_DENSE_LOAD_UP                      \
  "ldrd r2, r3, [r0], #8\n\t"           \
  TM_DENSE_UP(acc)                      \
  "smmla " acc ", " acc ", r2, r3\n\t"  \
  TM_DENSE_DOWN(acc)
#endif
#define TM_DENSE_RESCALE \
  TM_DENSE_SCALE("r7") TM_DENSE_SCALE("r8") TM_DENSE_SCALE("r9") TM_DENSE_SCALE("r10")
#if TM_CLAMPED
#define TM_DENSE_LIMIT(acc)                               \
  "cmp " acc ", r2\n\t it lt\n\t movlt " acc ", r2\n\t"   \
  "cmp " acc ", r3\n\t it gt\n\t movgt " acc ", r3\n\t"
#define TM_DENSE_CLAMP         \
  "ldrd r2, r3, %[limits]\n\t" \
  TM_DENSE_LIMIT("r7") TM_DENSE_LIMIT("r8") TM_DENSE_LIMIT("r9") TM_DENSE_LIMIT("r10")
#else
#define TM_DENSE_CLAMP
#endif
/* clang-format on */

/* Blocks of four outputs until the weights (TM_PLAIN: the records) reach `stop`. */
static inline void TM_INSTANCE(tm_dense_blocks)(const tm_dense_s8_params *p, const int8_t *x,
                                                const tm_dense_from *from, const int32_t *stop,
                                                int8_t *out) {
  /* all registers are in use inside, so what the blocks share lies on the stack */
  const struct {
    const int8_t *first, *end;
  } map = {x, x + (p->depth & ~3)};
  const int32_t depth = p->depth;
  const int32_t skip = 52 * (-(depth >> 2) & 3);
  int8_t *to = out;
  const int32_t *stream = from->stream;
  const int32_t *bias = from->bias;
  const int32_t *records = from->records;
#if TM_CLAMPED
  const struct {
    int32_t lo, hi;
  } limits = {p->lo, p->hi};
#endif
  /* clang-format off */
  __asm__ volatile(
      TM_DENSE_FIRST
      "1:\n\t"
      TM_DENSE_WEIGHTS
      "ldrd r1, lr, %[map]\n\t"
      TM_DENSE_START
      TM_DENSE_LOOP
      TM_DENSE_REST
      TM_DENSE_RECORDS
      TM_DENSE_RESCALE
      TM_DENSE_NEXT
      TM_DENSE_CLAMP
      "ldr r1, %[to]\n\t"
      "strb r7, [r1], #1\n\t"
      "strb r8, [r1], #1\n\t"
      "strb r9, [r1], #1\n\t"
      "strb r10, [r1], #1\n\t"
      "ldr lr, %[stop]\n\t"
      "str r1, %[to]\n\t"
      "cmp r0, lr\n\t"
      "bne 1b\n\t"
      : [to] "+m"(to), [stream] "+m"(stream), [bias] "+m"(bias), [records] "+m"(records)
      : [stop] "m"(stop), [map] "m"(map), [skip] "m"(skip), [depth] "m"(depth),
        [shift] "i"(TM_SHIFT), [depth1] "i"(TM_PLAIN), [depth2] "i"(2 * TM_PLAIN),
        [depth3] "i"(3 * TM_PLAIN)
#if TM_CLAMPED
        , [limits] "m"(limits)
#endif
      : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr",
        "cc", "memory");
  /* clang-format on */
}
#undef TM_DENSE_FIRST
#undef TM_DENSE_WEIGHTS
#undef TM_DENSE_RECORDS
#undef TM_DENSE_NEXT
#undef TM_DENSE_START
#undef TM_DENSE_LOAD
#undef TM_DENSE_PRODUCT
#undef TM_DENSE_PRODUCTS
#undef TM_DENSE_QUAD
#undef TM_DENSE_LOOP
#undef TM_DENSE_REST
#undef TM_DENSE_UP
#undef TM_DENSE_DOWN
#undef TM_DENSE_LOAD_UP
#undef TM_DENSE_SCALE
#undef TM_DENSE_RESCALE
#undef TM_DENSE_LIMIT
#undef TM_DENSE_CLAMP
#endif

static tm_status TM_INSTANCE(tm_dense_quads_s8)(const tm_dense_s8_params *p, const int8_t *in,
                                                const TM_DENSE_WEIGHT *weights, const int32_t *bias,
                                                int8_t *out, void *scratch) {
  const int32_t blocks = (p->outs + 3) / 4;
#if !TM_PLAIN
  const int32_t words = (TM_VARIED ? 0 : 4) + TM_DENSE_WORDS(p->depth) + 4 * TM_DENSE_RECORD;
#elif defined(TM_DSP_ASM)
  const int32_t words = 4 * TM_DENSE_RECORD;
#endif
#if TM_VARIED
  int32_t *const biases = (int32_t *)scratch;
  tm_prepare_biases(p->bias_terms, bias, 0, p->outs, biases);
#else
  int32_t *const biases = NULL;
  (void)bias;
  (void)scratch;
#endif
  for (int32_t r = 0; r < p->rows; ++r) {
    const int16_t *exceptions = p->exceptions;
    int32_t b = 0;
    while (b < blocks) {
      const int32_t exceptional = exceptions != NULL && *exceptions == b;
#if TM_PLAIN
      int32_t first = 4 * b;
#if defined(TM_DSP_ASM)
      if (!exceptional && first + 4 > p->outs) {
        first = p->outs - 4; /* the assembly reads the weights of four outputs */
      }
#endif
      const tm_dense_from from = {(const int32_t *)(const void *)(weights + first * TM_PLAIN),
                                  biases + first, p->records + first * TM_DENSE_RECORD};
#else
      const tm_dense_from from = {weights + b * words, TM_VARIED ? biases + 4 * b : NULL, NULL};
#endif
#if defined(TM_DSP_ASM)
      if (!exceptional) {
        int32_t end = exceptions != NULL && *exceptions < blocks ? *exceptions : blocks;
        if (end == blocks && p->outs % 4 != 0) {
          --end;
        }
        const int32_t *const at = TM_PLAIN ? from.records : from.stream;
        if (b < end) {
          TM_INSTANCE(tm_dense_blocks)(p, in, &from, at + (end - b) * words, out + 4 * b);
          b = end;
        } else {
          const int32_t count = p->outs % 4;
          int8_t last[4];
          TM_INSTANCE(tm_dense_blocks)(p, in, &from, at + words, last);
          memcpy(out + 4 * b, TM_PLAIN ? last + 4 - count : last, (size_t)count);
          ++b;
        }
        continue;
      }
#endif
      TM_INSTANCE(tm_dense_block)(p, in, &from, out + 4 * b, 4 * b, exceptional);
      if (exceptional) {
        ++exceptions;
      }
      ++b;
    }
    in += p->depth;
    out += p->outs;
  }
  return TM_OK;
}

#undef TM_DENSE_RECORD
#undef TM_DENSE_WORDS
#undef TM_DENSE_WEIGHT
#undef TM_VARIED
#undef TM_PLAIN
