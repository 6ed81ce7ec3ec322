/* Update of the weights of a convolution of one group on cores with SMLAD: for some taps and input
 * channels at a time, four to a block, what they saw at two places becomes a word of scratch; two
 * output channels by four input channels are summed in registers (tm_products.h).
 *
 * Scratch: 16 bytes a pair of places for each block (blocks for 8 KiB at most, but one), 8 bytes a
 * pair for two output channels, 4 bytes an output channel. */
#include "tm_conv_weight_update.h"
#include "tm_products.h"

enum { TM_WEIGHTS_BLOCKS = 8192 };

/* Sums of two streams by the four columns: those of the first, then of the second. */
static TM_NOINLINE void tm_products_sums(const tm_products *of, int32_t sums[8]) {
#if defined(TM_DSP_ASM)
  /* all registers are in use inside, so what it needs lies on the stack */
  if (of->stop != of->from.columns) {
    const tm_products job = *of;
    int32_t *const to = sums;
    /* clang-format off */
    __asm__ volatile(
        TM_PRODUCTS_SUMS
        "ldr r0, %[to]\n\t"
        "stm r0, {r6, r7, r8, r9, r10, r11, r12, lr}\n\t"
        :
        : [from] "m"(job.from), TM_PRODUCTS_JOB(job), [to] "m"(to)
        : TM_PRODUCTS_CLOBBERS);
    /* clang-format on */
    return;
  }
#endif
  tm_products_plain(of, sums);
}

/* The four channels of a block of one place. */
typedef struct {
  const int8_t *x; /* a place's channels */
  uint32_t zeros;  /* what stands for a place outside the map */
  int32_t count;   /* channels of the block */
  int32_t first;   /* the first, if they are a run */
  const int16_t *chosen;
} tm_weights_block;

static TM_INLINE uint32_t tm_weights_four(const tm_weights_block *block, const int8_t *x) {
  uint32_t word = 0;
  if (x == NULL) {
    return block->zeros;
  }
  if (block->count == 4 && block->chosen == NULL) {
    return tm_load4(x + block->first);
  }
  for (int32_t k = 0; k < block->count; ++k) {
    const int32_t i = block->chosen == NULL ? block->first + k : block->chosen[k];
    word |= ((uint32_t)x[i] & 0xFFu) << (8 * k);
  }
  return word;
}

/* Columns of what tap (ky, kx) saw of a block's channels at all places. */
static TM_NOINLINE void tm_weights_columns(const tm_conv_weight_update_s8_params *p,
                                           const int8_t *x, const tm_weights_block *block,
                                           int32_t ky, int32_t kx, uint32_t *to) {
  const uint32_t zero = tm_pack16(p->in_zero, p->in_zero);
  const int32_t dx = kx * p->dilation_w - p->pad_left;
  uint32_t even = 0;
  uint32_t odd = 0;
  int32_t half = 0;
  for (int32_t n = 0; n < p->batch; ++n) {
    for (int32_t oy = 0; oy < p->out_h; ++oy) {
      const int32_t iy = oy * p->stride_h + ky * p->dilation_h - p->pad_top;
      const int32_t inside = iy >= 0 && iy < p->in_h;
      const int32_t row = (n * p->in_h + iy) * p->in_w;
      for (int32_t ox = 0; ox < p->out_w; ++ox) {
        const int32_t ix = ox * p->stride_w + dx;
        const int32_t seen = inside && ix >= 0 && ix < p->in_w;
        const uint32_t word = tm_weights_four(block, seen ? x + (row + ix) * p->in_c : NULL);
        const uint32_t even1 = tm_ssub16(tm_sxtb16(word), zero);
        const uint32_t odd1 = tm_ssub16(tm_sxtb16_ror8(word), zero);
        if (half) {
          tm_products_columns(to, even, odd, even1, odd1);
          to += 4;
        }
        even = even1;
        odd = odd1;
        half ^= 1;
      }
    }
  }
  if (half) {
    tm_products_columns(to, even, odd, 0u, 0u);
  }
}

/* Gradients of two channels from h on, `step` apart, as two streams. */
static TM_NOINLINE void tm_weights_streams(const int16_t *h, int32_t step, int32_t places,
                                           int32_t both, uint32_t *a, uint32_t *b) {
  int32_t left = places;
  for (; both && left >= 2; left -= 2) {
    const uint32_t first = tm_load4((const int8_t *)h);
    const uint32_t second = tm_load4((const int8_t *)(h + step));
    *a++ = (first & 0xFFFFu) | second << 16;
    *b++ = first >> 16 | (second & 0xFFFF0000u);
    h += 2 * step;
  }
  for (; left > 0; left -= 2) {
    *a++ = tm_pack16(h[0], left >= 2 ? h[step] : 0);
    *b++ = both ? (uint32_t)h[1] & 0xFFFFu : 0u;
    h += left >= 2 ? 2 * step : 0;
  }
}

/* A step of the weights of a block for one output channel. Returns by how much they moved. */
static TM_NOINLINE int32_t tm_weights_step(const tm_weights_block *block, int8_t *weights,
                                           uint32_t index, const int32_t *sums, float factor,
                                           int32_t stochastic, uint32_t seed) {
  int32_t moved = 0;
  if (stochastic && block->count == 4 && block->chosen == NULL && factor - factor == 0.0f) {
    int8_t *const four = weights + block->first;
    seed += index + (uint32_t)block->first;
    for (uint32_t k = 0; k < 4; ++k) {
      const int32_t w = four[k];
      const int32_t fresh = tm_update_weight_finite(w, sums[k], factor, seed, k);
      four[k] = (int8_t)fresh;
      moved += fresh - w;
    }
    return moved;
  }
  for (int32_t k = 0; k < block->count; ++k) {
    const int32_t i = block->chosen == NULL ? block->first + k : block->chosen[k];
    const int32_t w = weights[i];
    const int32_t fresh =
        tm_update_weight(w, sums[k], factor, stochastic, seed, index + (uint32_t)i);
    weights[i] = (int8_t)fresh;
    moved += fresh - w;
  }
  return moved;
}

static tm_status tm_weight_update_pairs_s8(const tm_conv_weight_update_s8_params *p,
                                           const int8_t *x, const int16_t *h,
                                           const int32_t *exponent, const float *rate,
                                           const int32_t *counter, const float *coefficient,
                                           int8_t *weights, int32_t *bias, void *scratch) {
  const uint32_t seed = tm_update_seed((uint32_t)*counter, (uint32_t)p->layer);
  const int32_t taps = p->kernel_h * p->kernel_w;
  const int32_t places = p->batch * p->out_h * p->out_w;
  const int32_t pairs = (places + 1) / 2;
  const int32_t fours = (p->chosen_count + 3) / 4;
  const int32_t most = TM_WEIGHTS_BLOCKS / (16 * pairs);
  const int32_t held = most < 1 ? 1 : (most > taps * fours ? taps * fours : most);
  uint32_t *const columns = (uint32_t *)scratch;
  uint32_t *const streams = columns + 4 * pairs * held;
  int32_t *const moved = (int32_t *)(streams + 2 * pairs);
  tm_weights_block block;
  tm_products job;
  block.zeros = ((uint32_t)p->in_zero & 0xFFu) * 0x01010101u;
  for (int32_t o = 0; o < p->out_c; ++o) {
    moved[o] = 0;
  }
  for (int32_t start = 0; start < taps * fours; start += held) {
    const int32_t end = start + held < taps * fours ? start + held : taps * fours;
    for (int32_t o = -2; o < p->out_c; o += 2) {
      const int32_t both = o + 1 < p->out_c;
      float factors[2] = {0.0f, 0.0f};
      if (o >= 0) {
        tm_weights_streams(h + o, p->out_c, places, both, streams, streams + pairs);
        factors[0] = tm_update_factor(*rate, coefficient[o], *exponent);
        factors[1] = both ? tm_update_factor(*rate, coefficient[o + 1], *exponent) : 0.0f;
      }
      for (int32_t b = start; b < end; ++b) {
        const int32_t tap = b / fours;
        const int32_t n = b % fours * 4;
        uint32_t *const of_block = columns + 4 * pairs * (b - start);
        block.count = p->chosen_count - n < 4 ? p->chosen_count - n : 4;
        block.first = p->channel0 + n;
        block.chosen = p->chosen == NULL ? NULL : p->chosen + n;
        if (o < 0) {
          tm_weights_columns(p, x, &block, tap / p->kernel_w, tap % p->kernel_w, of_block);
        } else {
          int32_t sums[8];
          tm_products_begin(&job, (const int16_t *)streams, 4 * pairs, of_block, 2 * pairs);
          tm_products_sums(&job, sums);
          for (int32_t k = 0; k < (both ? 2 : 1); ++k) {
            const int32_t place = ((o + k) * taps + tap) * p->group_in;
            moved[o + k] += tm_weights_step(&block, weights + place, (uint32_t)place, sums + 4 * k,
                                            factors[k], p->stochastic, seed);
          }
        }
      }
    }
  }
  for (int32_t o = 0; o < p->out_c; ++o) {
    bias[o] = tm_update_less(bias[o], (int64_t)p->in_zero * moved[o]);
  }
  return TM_OK;
}
