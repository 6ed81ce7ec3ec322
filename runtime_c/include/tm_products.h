/* The matrix product of training on cores with SMLAD: two streams of halves by four columns, summed
 * over pairs of halves, 14 instructions for 16 products. Columns are words of scratch, four for
 * each pair: {column 0 first, second}, ...; of an odd last one the second half is 0. Streams lie
 * `pitch` bytes apart at any address. */
#ifndef TM_PRODUCTS_H
#define TM_PRODUCTS_H

#include "tm_dsp.h"

typedef struct {
  struct {
    const int16_t *first;    /* the first stream, */
    const uint32_t *columns; /* and what it meets */
  } from;
  const uint32_t *stop; /* behind the columns of whole pairs */
  int32_t pitch;        /* bytes from stream to stream, even */
  int32_t skip;         /* bytes of code by which the first pass through the loop enters late */
  int32_t odd;          /* a half beyond the pairs */
} tm_products;

enum { TM_PRODUCTS_UNROLL = 4, TM_PRODUCTS_CODE = 56 };

/* For streams of `length` halves. */
static TM_INLINE void tm_products_begin(tm_products *job, const int16_t *first, int32_t pitch,
                                        const uint32_t *columns, int32_t length) {
  const int32_t pairs = length >> 1;
  job->from.first = first;
  job->from.columns = columns;
  job->stop = columns + 4 * pairs;
  job->pitch = pitch;
  /* none at all: past the loop and its end */
  job->skip = TM_PRODUCTS_CODE * (-pairs & (TM_PRODUCTS_UNROLL - 1));
  job->odd = length & 1;
}

/* Halves 0 and 2 of two rows of four become the words of columns, then 1 and 3. */
static TM_INLINE void tm_products_columns(uint32_t *to, uint32_t even0, uint32_t odd0,
                                          uint32_t even1, uint32_t odd1) {
  to[0] = (even0 & 0xFFFFu) | even1 << 16;
  to[1] = (odd0 & 0xFFFFu) | odd1 << 16;
  to[2] = even0 >> 16 | (even1 & 0xFFFF0000u);
  to[3] = odd0 >> 16 | (odd1 & 0xFFFF0000u);
}

#if defined(TM_DSP_ASM)
/* clang-format off */
/* 56 bytes of code: the entry into the loop is computed */
#define TM_PRODUCTS_COLUMN(a, b)    \
  "ldr.w r5, [r2], #4\n\t"          \
  "smlad " a ", r3, r5, " a "\n\t"  \
  "smlad " b ", r4, r5, " b "\n\t"
#define TM_PRODUCTS_STEP            \
  "ldr.w r3, [r0], #4\n\t"          \
  "ldr.w r4, [r1], #4\n\t"          \
  TM_PRODUCTS_COLUMN("r6", "r10")   \
  TM_PRODUCTS_COLUMN("r7", "r11")   \
  TM_PRODUCTS_COLUMN("r8", "r12")   \
  TM_PRODUCTS_COLUMN("r9", "lr")
/* Sums of the first stream in r6 to r9, of the second in r10 to r12 and lr; r1 is the end of the
 * second. There is one pair at least. */
#define TM_PRODUCTS_SUMS                                               \
  "ldrd r0, r2, %[from]\n\t"                                           \
  "ldr r1, %[pitch]\n\t"                                               \
  "ldr r3, %[skip]\n\t"                                                \
  "mov r6, #0\n\t mov r7, #0\n\t mov r8, #0\n\t mov r9, #0\n\t"        \
  "mov r10, #0\n\t mov r11, #0\n\t mov r12, #0\n\t mov lr, #0\n\t"     \
  "add r1, r0, r1\n\t"                                                 \
  ".balign 4\n\t"                                                      \
  "add pc, r3\n\t"                                                     \
  "nop\n"                                                              \
  "2:\n\t"                                                             \
  TM_PRODUCTS_STEP TM_PRODUCTS_STEP TM_PRODUCTS_STEP TM_PRODUCTS_STEP  \
  "ldr r5, %[stop]\n\t"                                                \
  "cmp r2, r5\n\t"                                                     \
  "bne 2b\n\t"                                                         \
  "ldr r5, %[odd]\n\t"                                                 \
  "cbz r5, 3f\n\t"                                                     \
  "ldrsh r3, [r0], #2\n\t"                                             \
  "ldrsh r4, [r1], #2\n\t"                                             \
  TM_PRODUCTS_COLUMN("r6", "r10")                                      \
  TM_PRODUCTS_COLUMN("r7", "r11")                                      \
  TM_PRODUCTS_COLUMN("r8", "r12")                                      \
  TM_PRODUCTS_COLUMN("r9", "lr")                                       \
  "3:\n\t"
#define TM_PRODUCTS_JOB(job)                                                          \
  [pitch] "m"(job.pitch), [skip] "m"(job.skip), [stop] "m"(job.stop), [odd] "m"(job.odd)
#define TM_PRODUCTS_CLOBBERS                                                           \
  "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", \
  "cc", "memory"
/* clang-format on */
#endif

/* The sums of two streams, in C. */
static TM_INLINE void tm_products_plain(const tm_products *job, int32_t sums[8]) {
  const int8_t *a = (const int8_t *)job->from.first;
  const int8_t *b = a + job->pitch;
  const uint32_t *columns = job->from.columns;
  uint32_t acc[8] = {0};
  while (columns != job->stop + 4 * job->odd) {
    uint32_t left = 0;
    uint32_t right = 0;
    if (columns == job->stop) {
      memcpy(&left, a, sizeof(int16_t));
      memcpy(&right, b, sizeof(int16_t));
    } else {
      left = tm_load4(a);
      right = tm_load4(b);
      a += 4;
      b += 4;
    }
    for (int32_t c = 0; c < 4; ++c) {
      acc[c] = tm_smlad(left, columns[c], acc[c]);
      acc[4 + c] = tm_smlad(right, columns[c], acc[4 + c]);
    }
    columns += 4;
  }
  for (int32_t c = 0; c < 8; ++c) {
    sums[c] = (int32_t)acc[c];
  }
}

#endif
