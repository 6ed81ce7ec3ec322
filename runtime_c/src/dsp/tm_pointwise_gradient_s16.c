/* Gradient of the input of a convolution of one tap, on cores with SMLAD: the weights of four input
 * channels are widened and paired in scratch, then two pixels at a time are summed in registers
 * (tm_products.h). Good where a row, or the map, has several pixels.
 *
 * Scratch: 8 bytes for each output channel, made even, then 16. */
#include "tm_conv_input_gradient.h"
#include "tm_mantissas.h"
#include "tm_products.h"

/* What the pixels of four channels share with the assembly. */
typedef struct {
  tm_products products;
  int32_t scale; /* tm_mantissas, as the assembly loads it */
  struct {
    uint32_t high, low;
  } limits;
  int16_t *out;
  int32_t out_pitch; /* bytes from pixel to pixel */
  int32_t left;      /* pairs of pixels */
} tm_pointwise_job;

/* Four channels of `left` pairs of pixels that lie one behind the other. */
static TM_NOINLINE void tm_pointwise_pixels(const tm_pointwise_job *of, int32_t shift,
                                            int32_t limit) {
#if defined(TM_DSP_ASM)
  if (shift >= 2 && of->products.stop != of->products.from.columns) {
    tm_pointwise_job job = *of;
    (void)limit;
    /* clang-format off */
    __asm__ volatile(
        "1:\n\t"
        TM_PRODUCTS_SUMS
        "ldr r5, %[scale]\n\t"
        "str r1, %[first]\n\t"
        "smmulr r6, r6, r5\n\t smmulr r7, r7, r5\n\t smmulr r8, r8, r5\n\t smmulr r9, r9, r5\n\t"
        "smmulr r10, r10, r5\n\t smmulr r11, r11, r5\n\t"
        "smmulr r12, r12, r5\n\t smmulr lr, lr, r5\n\t"
        "ldrd r3, r4, %[limits]\n\t"
        "ssat r6, #16, r6\n\t ssat r7, #16, r7\n\t ssat r8, #16, r8\n\t ssat r9, #16, r9\n\t"
        "ssat r10, #16, r10\n\t ssat r11, #16, r11\n\t"
        "ssat r12, #16, r12\n\t ssat lr, #16, lr\n\t"
        "ldr r0, %[out]\n\t"
        "ldr r2, %[out_pitch]\n\t"
        "pkhbt r6, r6, r7, lsl #16\n\t pkhbt r8, r8, r9, lsl #16\n\t"
        "pkhbt r10, r10, r11, lsl #16\n\t pkhbt r12, r12, lr, lsl #16\n\t"
        "qadd16 r6, r6, r3\n\t qadd16 r8, r8, r3\n\t qadd16 r10, r10, r3\n\t qadd16 r12, r12, r3\n\t"
        "ssub16 r6, r6, r3\n\t ssub16 r8, r8, r3\n\t ssub16 r10, r10, r3\n\t ssub16 r12, r12, r3\n\t"
        "ldr r1, %[left]\n\t"
        "qsub16 r6, r6, r4\n\t qsub16 r8, r8, r4\n\t qsub16 r10, r10, r4\n\t qsub16 r12, r12, r4\n\t"
        "sadd16 r6, r6, r4\n\t sadd16 r8, r8, r4\n\t sadd16 r10, r10, r4\n\t sadd16 r12, r12, r4\n\t"
        "str r6, [r0]\n\t"
        "str r8, [r0, #4]\n\t"
        "add r0, r0, r2\n\t"
        "str r10, [r0]\n\t"
        "str r12, [r0, #4]\n\t"
        "add r0, r0, r2\n\t"
        "str r0, %[out]\n\t"
        "subs r1, r1, #1\n\t"
        "str r1, %[left]\n\t"
        "bne 1b\n\t"
        : [from] "+m"(job.products.from), [first] "+m"(job.products.from.first),
          [out] "+m"(job.out), [left] "+m"(job.left)
        : TM_PRODUCTS_JOB(job.products), [scale] "m"(job.scale),
          [limits] "m"(job.limits), [out_pitch] "m"(job.out_pitch)
        : TM_PRODUCTS_CLOBBERS);
    /* clang-format on */
    return;
  }
#endif
  tm_products products = of->products;
  uint8_t *out = (uint8_t *)of->out;
  for (int32_t left = of->left; left > 0; --left) {
    int32_t sums[8];
    tm_products_plain(&products, sums);
    for (int32_t k = 0; k < 8; ++k) {
      const int16_t g = tm_gradient_of(sums[k], shift, limit);
      memcpy(out + (k >= 4 ? of->out_pitch : 0) + 2 * (k & 3), &g, sizeof g);
    }
    products.from.first =
        (const int16_t *)(const void *)((const uint8_t *)products.from.first + 2 * products.pitch);
    out += 2 * of->out_pitch;
  }
}

/* The weights of `count` channels from w on, of all `outs` outputs: words of columns. */
static TM_NOINLINE void tm_pointwise_columns(const int8_t *w, int32_t outs, int32_t pitch,
                                             int32_t count, uint32_t *to) {
  int32_t o = 0;
  if (count == 4) {
#if defined(TM_DSP_ASM)
    const uint32_t *const stop = to + 4 * (outs >> 1);
    if (to != stop) {
      /* clang-format off */
      __asm__ volatile(
          "1:\n\t"
          "ldr r4, [%[w]]\n\t"
          "ldr r6, [%[w], %[pitch]]\n\t"
          "add %[w], %[w], %[pitch], lsl #1\n\t"
          "sxtb16 r5, r4, ror #8\n\t"
          "sxtb16 r4, r4\n\t"
          "sxtb16 r8, r6, ror #8\n\t"
          "sxtb16 r6, r6\n\t"
          "pkhtb r9, r6, r4, asr #16\n\t"
          "pkhbt r4, r4, r6, lsl #16\n\t"
          "pkhtb r10, r8, r5, asr #16\n\t"
          "pkhbt r5, r5, r8, lsl #16\n\t"
          "stm %[to]!, {r4, r5, r9, r10}\n\t"
          "cmp %[to], %[stop]\n\t"
          "bne 1b\n\t"
          : [w] "+&r"(w), [to] "+&r"(to)
          : [pitch] "r"(pitch), [stop] "r"(stop)
          : "r4", "r5", "r6", "r8", "r9", "r10", "memory", "cc");
      /* clang-format on */
    }
    o = outs & ~1;
#else
    for (; o + 2 <= outs; o += 2) {
      const uint32_t first = tm_load4(w);
      const uint32_t second = tm_load4(w + pitch);
      tm_products_columns(to, tm_sxtb16(first), tm_sxtb16_ror8(first), tm_sxtb16(second),
                          tm_sxtb16_ror8(second));
      w += 2 * pitch;
      to += 4;
    }
#endif
  }
  for (; o < outs; o += 2) {
    for (int32_t k = 0; k < 4; ++k) {
      to[k] = k < count ? tm_pack16(w[k], o + 1 < outs ? w[pitch + k] : 0) : 0u;
    }
    to += 4;
    if (o + 2 < outs) {
      w += 2 * pitch;
    }
  }
}

/* `count` channels of `pixels` pixels that lie one behind the other from h on; to g on. */
static TM_NOINLINE void tm_pointwise_run(const tm_conv_input_gradient_s16_params *p,
                                         tm_pointwise_job *job, const int16_t *h, int16_t *g,
                                         int32_t pixels, int32_t count, int16_t *spare) {
  if (count == 4 && pixels >= 2) {
    job->products.from.first = h;
    job->products.pitch = 2 * p->out_c;
    job->out = g;
    job->out_pitch = 2 * p->in_c;
    job->left = pixels >> 1;
    tm_pointwise_pixels(job, p->shift, p->limit);
    h += (pixels & ~1) * p->out_c;
    g += (pixels & ~1) * p->in_c;
    pixels &= 1;
  }
  /* a pixel alone is summed twice */
  for (; pixels > 0; pixels -= 2) {
    const int32_t both = pixels >= 2;
    job->products.from.first = h;
    job->products.pitch = both ? 2 * p->out_c : 0;
    job->out = spare;
    job->out_pitch = 8;
    job->left = 1;
    tm_pointwise_pixels(job, p->shift, p->limit);
    for (int32_t k = 0; k < count; ++k) {
      g[k] = spare[k];
      if (both) {
        g[p->in_c + k] = spare[4 + k];
      }
    }
    h += 2 * p->out_c;
    g += 2 * p->in_c;
  }
}

static tm_status tm_pointwise_gradient_s16(const tm_conv_input_gradient_s16_params *p,
                                           const tm_rows *in, const int8_t *weights,
                                           const tm_rows *out, const tm_part *part, void *scratch) {
  const int32_t dense = in->row_bytes == 2 * p->out_w * p->out_c && in->ring == in->rows &&
                        out->row_bytes == 2 * p->in_w * p->in_c && out->ring == out->rows;
  const int32_t words = (p->out_c + 1) / 2 * 4;
  uint32_t *columns = (uint32_t *)scratch;
  int16_t *spare = (int16_t *)(columns + words);
  tm_pointwise_job job;
  if (p->shift >= 2) {
    const tm_mantissas how = tm_mantissas_of(p->shift, p->limit);
    job.scale = how.scale;
    job.limits.high = how.high;
    job.limits.low = how.low;
  }
  for (int32_t i = part->channel0; i < part->channel1; i += 4) {
    const int32_t count = part->channel1 - i < 4 ? part->channel1 - i : 4;
    tm_pointwise_columns(weights + i, p->out_c, p->in_c, count, columns);
    tm_products_begin(&job.products, NULL, 0, columns, p->out_c);
    for (int32_t y = part->row0; y < part->row1; ++y) {
      const int16_t *h = (const int16_t *)tm_row(in, y);
      int16_t *g = (int16_t *)tm_row_out(out, y) + i;
      const int32_t rows = dense ? part->row1 - y : 1;
      tm_pointwise_run(p, &job, h, g, rows * p->in_w, count, spare);
      y += rows - 1;
    }
  }
  return TM_OK;
}
