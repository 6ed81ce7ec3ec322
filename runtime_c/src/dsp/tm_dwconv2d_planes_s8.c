/* Depthwise convolution on cores with SMLAD, any number of output channels for each input
 * channel: some rows of four channels are widened to 16 bits, each channel by itself with its
 * padding, then up to six neighbouring outputs are summed in registers, two taps an instruction.
 *
 * A row runs along the map's width; in a map that is one column wide it runs along its height.
 * Compiled once for each TM_ALONG and TM_ACROSS (taps along a row and across rows), TM_STRIDE
 * (1 or 2, along a row), TM_SHIFT (the common right shift of the rescaling), TM_SIGNED (records
 * have a correction of negative sums), TM_CLAMPED (the clamp is narrower than int8), TM_FOURS and
 * TM_SIXES (whether there is code for four and for six outputs, else it takes that for two).
 *
 * Weights are the layout "planes_wide": int32 words; for each output channel its rescaling
 * record {multiplier, offset[, correction]}, its bias, and for each row of taps w[] the words
 *   stride 2           (w0, w1), (w2, w3), ...
 *   stride 1, 2 or 3   (w0, w1), (w1, w2)
 *   stride 1, else     (w0, w1), (0, w0), (w2, w3), (w1, w2), ...: for outputs that begin at the
 *                      low half of a word and for those that begin at the high half.
 *
 * With TM_VARIED the bias is an array in RAM: sums start from what tm_prepare_biases makes of it at
 * the beginning of a call, and the stream's biases are not read. Such a call is never fed.
 *
 * Scratch: with TM_VARIED a word for each output channel; for each of four channels (or fewer, if
 * there are no four) the input rows of p->plane_lines output rows, in words of two elements. Output
 * rows are written plane_rows at a time, all of them where rows run along the height.
 *
 * A call of one output row has read all of a channel before it writes that channel. Where it is
 * fed (tm_dwconv2d_planes_fed_s8), the last input row that it reads is made on the way, four
 * channels at a time, after all other rows of these have been read: it may lie over one that no
 * later output row reads. */
#include <stddef.h>
#include <string.h>

#include "tm_conv2d.h"
#include "tm_dsp.h"
#include "tm_rescale.h"

#ifndef TM_VARIED
#define TM_VARIED 0
#endif

#ifndef TM_DWCONV2D_PLANES_ONCE
#define TM_DWCONV2D_PLANES_ONCE

/* What tm_planes_widen reads, in this order. */
typedef struct {
  const int8_t *from;  /* four channels of the first element */
  int32_t step;        /* to the next element */
  uint32_t *to[4];     /* first words of the planes */
  uint32_t pad;        /* four bytes of padding */
  int32_t left, quads; /* whether the first element is a high half; fours of elements */
  int32_t pair, right; /* whether there are two more, one more (a low half) */
  int32_t gap;         /* from the end of what was written to the next line */
  int32_t line_step;   /* to the map's next line */
  int32_t lines;
} tm_planes_source;

/* Outputs in strips of the same width: what the strips' assembly reads, in this order. It changes
 * `to`, `x`, `stop`, `channels` and `bias`. */
typedef struct {
  int32_t step, last;  /* to the next output; to the last one of a strip */
  int8_t *to;          /* the first output */
  int32_t line_step;   /* to the next line of outputs */
  int32_t x_step;      /* from the last line of taps to the first one of the next output line */
  const uint8_t *stop; /* behind the first lines of taps of the first strip */
  const uint8_t *x;    /* the first line of taps */
  int32_t x_line;      /* to the next line of taps */
  int32_t strips;
  int32_t strip_step; /* from a strip's last line to the first output of the next one */
  int32_t lo, hi;
  int32_t channels;    /* how many follow each other in the output */
  int32_t plane;       /* bytes from the input of one to that of the next */
  const int32_t *bias; /* of the first channel, where it is not in the stream */
} tm_planes_job;

/* What the code that is common to all instances must know of one. */
typedef struct {
  int32_t across, stride, taps; /* lines of taps, stride along, words an output reads of a line */
  int32_t stream;               /* words of a channel */
  void (*strips[3])(tm_planes_job *job, const int32_t *stream); /* of 2, 4, 6 outputs */
  int32_t has_correction, shift;
} tm_planes_instance;

/* Strips of one width: where they begin, their number, and what of the job depends on them. */
typedef struct {
  int32_t width, first, strips, last, strip_step;
} tm_planes_kind;

/* A call in terms of lines: elements along them, lines across. */
typedef struct {
  const tm_planes_instance *kernel;
  const tm_conv2d_s8_params *p;
  const tm_rows *in, *out;
  const tm_part *part;
  const int32_t *weights;
  const int32_t *bias;        /* by output channel; NULL: they are in the stream */
  const tm_conv2d_feed *feed; /* makes the last line of the input; NULL: it is there */
  uint32_t *scratch;
  int32_t down;                  /* whether lines run along the height of the map */
  int32_t elements, height;      /* of the input: of a line, lines */
  int32_t stride, pad, dilation; /* across */
  int32_t out_first, outputs;    /* outputs of a line that are computed */
  int32_t words, planes;         /* of a plane's line; planes in scratch */
  int32_t first;                 /* element at the first place of a plane's line */
  int32_t line, lines, end;      /* of the output: computed together, behind the last */
  int32_t x_line, x_lines;       /* of the input, that they read */
} tm_planes_call;

static inline int32_t tm_planes_plane_words(const tm_planes_call *s) {
  return s->x_lines * s->words;
}

/* Element e of line y of the input, channel 0; NULL where it is padding. */
static inline const int8_t *tm_planes_element(const tm_planes_call *s, int32_t y, int32_t e) {
  if (e < 0 || e >= s->elements || y < 0 || y >= s->height) {
    return NULL;
  }
  return s->down ? (const int8_t *)tm_row(s->in, e) + y * s->p->in_c
                 : (const int8_t *)tm_row(s->in, y) + e * s->p->in_c;
}

static inline int8_t *tm_planes_output(const tm_planes_call *s, int32_t y, int32_t e) {
  return s->down ? (int8_t *)tm_row_out(s->out, e) + y * s->p->out_c
                 : (int8_t *)tm_row_out(s->out, y) + e * s->p->out_c;
}

/* Whether the elements of a line lie across the end of a ring. */
static inline int32_t tm_planes_wraps(const tm_planes_call *s) {
  const int32_t first = s->first < 0 ? 0 : s->first;
  const int32_t end = s->first + 2 * s->words < s->elements ? s->first + 2 * s->words : s->elements;
  return s->in->ring != s->in->rows && end - first > s->in->ring - first % s->in->ring;
}

/* Makes the last line of the input, four channels from c on. */
static TM_NOINLINE void tm_planes_feed(const tm_planes_call *s, int32_t c) {
  s->feed->make(s->feed->context, s->feed->row, c, c + 4 < s->p->in_c ? c + 4 : s->p->in_c);
}

/* Widens lines [y, end), channels from c on, into the planes, in C. */
static TM_NOINLINE void tm_planes_gather(const tm_planes_call *s, int32_t c, int32_t y,
                                         int32_t end) {
  const int32_t pad = s->in->pad == NULL ? 0 : *(const int8_t *)s->in->pad;
  for (; y < end; ++y) {
    for (int32_t word = 0; word < s->words; ++word) {
      const int32_t e = s->first + 2 * word;
      const int8_t *low = tm_planes_element(s, s->x_line + y, e);
      const int8_t *high = tm_planes_element(s, s->x_line + y, e + 1);
      for (int32_t i = 0; i < s->planes; ++i) {
        s->scratch[i * tm_planes_plane_words(s) + y * s->words + word] =
            tm_pack16(low == NULL ? pad : low[c + i], high == NULL ? pad : high[c + i]);
      }
    }
  }
}

/* The same for all lines, the one that is made on the way last. */
static inline void tm_planes_fetch(const tm_planes_call *s, int32_t base, int32_t c) {
  const int32_t last = s->x_lines - (s->feed != NULL);
  tm_planes_gather(s, base, 0, last);
  if (s->feed != NULL) {
    tm_planes_feed(s, c);
    tm_planes_gather(s, base, last, s->x_lines);
  }
}

#if defined(TM_DSP_ASM)
/* r7, r8: four channels of two elements, r2 .. r5: the planes */
#define TM_PLANES_TWO              \
  "pkhbt r11, r7, r8, lsl #16\n\t" \
  "pkhtb r8, r8, r7, asr #16\n\t"  \
  "sxtb16 r7, r11\n\t"             \
  "sxtb16 r11, r11, ror #8\n\t"    \
  "sxtb16 r12, r8\n\t"             \
  "sxtb16 r8, r8, ror #8\n\t"      \
  "str r7, [r2], #4\n\t"           \
  "str r11, [r3], #4\n\t"          \
  "str r12, [r4], #4\n\t"          \
  "str r8, [r5], #4\n\t"

static __attribute__((noinline)) void tm_planes_widen(const tm_planes_source *from) {
  register const tm_planes_source *r0 __asm__("r0") = from;
  __asm__ volatile(
      /* pad, left, quads, pair, right, gap, line_step, lines; below them the line's start */
      "add r12, r0, #24\n\t"
      "ldm r12, {r1, r2, r3, r4, r5, r6, r7, r8}\n\t"
      "push {r1, r2, r3, r4, r5, r6, r7, r8}\n\t"
      "ldm r0, {r0, r1, r2, r3, r4, r5}\n\t"
      "push {r0}\n"
      "1:\n\t"
      "ldrd r6, r7, [sp, #4]\n\t" /* pad, left */
      "cbz r7, 2f\n\t"
      "mov r7, r6\n\t"
      "ldr r8, [r0]\n\t"
      "add r0, r0, r1\n\t" TM_PLANES_TWO
      "2:\n\t"
      "ldr r6, [sp, #12]\n\t" /* quads */
      "cbz r6, 4f\n"
      "3:\n\t"
      "ldr r7, [r0]\n\t"
      "ldr r8, [r0, r1]\n\t"
      "add r0, r0, r1, lsl #1\n\t"
      "ldr r9, [r0]\n\t"
      "ldr r10, [r0, r1]\n\t"
      "add r0, r0, r1, lsl #1\n\t"
      "pkhbt r11, r7, r8, lsl #16\n\t"
      "pkhtb r8, r8, r7, asr #16\n\t"
      "pkhbt r7, r9, r10, lsl #16\n\t"
      "pkhtb r10, r10, r9, asr #16\n\t"
      "sxtb16 r12, r11\n\t"
      "sxtb16 lr, r7\n\t"
      "sxtb16 r11, r11, ror #8\n\t"
      "sxtb16 r7, r7, ror #8\n\t"
      "strd r12, lr, [r2], #8\n\t"
      "strd r11, r7, [r3], #8\n\t"
      "sxtb16 r12, r8\n\t"
      "sxtb16 lr, r10\n\t"
      "sxtb16 r8, r8, ror #8\n\t"
      "sxtb16 r10, r10, ror #8\n\t"
      "strd r12, lr, [r4], #8\n\t"
      "strd r8, r10, [r5], #8\n\t"
      "subs r6, r6, #1\n\t"
      "bne 3b\n"
      "4:\n\t"
      "ldrd r6, r10, [sp, #16]\n\t" /* pair, right */
      "cbz r6, 5f\n\t"
      "ldr r7, [r0]\n\t"
      "ldr r8, [r0, r1]\n\t"
      "add r0, r0, r1, lsl #1\n\t" TM_PLANES_TWO
      "5:\n\t"
      "cmp r10, #0\n\t"
      "beq 6f\n\t"
      "ldr r7, [r0]\n\t"
      "ldr r8, [sp, #4]\n\t" TM_PLANES_TWO
      "6:\n\t"
      "ldrd r6, r7, [sp, #24]\n\t" /* gap, line_step */
      "ldr r8, [sp, #32]\n\t"
      "ldr r0, [sp]\n\t"
      "add r2, r2, r6\n\t"
      "add r3, r3, r6\n\t"
      "add r4, r4, r6\n\t"
      "add r5, r5, r6\n\t"
      "add r0, r0, r7\n\t"
      "str r0, [sp]\n\t"
      "subs r8, r8, #1\n\t"
      "str r8, [sp, #32]\n\t"
      "bne 1b\n\t"
      "add sp, sp, #36\n\t"
      : "+r"(r0)
      :
      : "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "cc",
        "memory");
}
#undef TM_PLANES_TWO
#endif

#if defined(TM_DSP_ASM)
/* Writes the padding of the lines into four planes, and what tm_planes_widen needs for the rest.
 * Returns the lines that `from` leaves for a second piece, as they lie behind the end of a ring. */
static TM_NOINLINE int32_t tm_planes_prepare(const tm_planes_call *s, tm_planes_source *from) {
  const tm_rows *const in = s->in;
  const int32_t before = s->first < 0 ? -s->first : 0;
  const int32_t inside = s->elements - s->first;
  const int32_t behind = inside < 2 * s->words ? inside : 2 * s->words;
  const uint32_t pad = in->pad == NULL ? 0u : *(const uint8_t *)in->pad * 0x01010101u;
  const uint32_t two = tm_sxtb16(pad);
  const int32_t line_end = s->x_line + s->x_lines;
  const int32_t end = (line_end < s->height ? line_end : s->height) - (s->feed != NULL);
  const int32_t start = s->x_line < 0 ? 0 : s->x_line;
  const int32_t wanted = behind - before - (before & 1);
  int32_t more = 0;
  uint32_t *to = s->scratch;
  for (int32_t i = 0; i < 4; ++i) {
    for (int32_t k = s->x_line; k < line_end; ++k, to += s->words) {
      const int32_t outside = k < 0 || k >= s->height || behind <= before;
      for (int32_t word = 0; word < (outside ? s->words : before >> 1); ++word) {
        to[word] = two;
      }
      for (int32_t word = outside ? s->words : behind >> 1; word < s->words; ++word) {
        to[word] = two;
      }
    }
  }
  from->lines = behind > before && end > start ? end - start : 0;
  if (from->lines == 0) {
    return 0;
  }
  from->step = s->down ? in->row_bytes : s->p->in_c;
  from->line_step = s->down ? s->p->in_c : in->row_bytes;
  from->pad = pad;
  from->left = before & 1;
  from->quads = wanted >> 2;
  from->pair = wanted >> 1 & 1;
  from->right = wanted & 1;
  from->gap = 4 * (s->words - from->left - 2 * from->quads - from->pair - from->right);
  if (!s->down && in->ring != in->rows && from->lines > in->ring - start % in->ring) {
    more = from->lines - (in->ring - start % in->ring);
    from->lines -= more;
  }
  from->from = tm_planes_element(s, start, s->first + before);
  from->to[0] = s->scratch + (start - s->x_line) * s->words + (before >> 1);
  for (int32_t i = 1; i < 4; ++i) {
    from->to[i] = from->to[i - 1] + tm_planes_plane_words(s);
  }
  return more;
}

/* Goes `by` bytes of the map and of each plane further. */
static inline void tm_planes_move(tm_planes_source *from, int32_t by, int32_t words) {
  from->from += by;
  for (int32_t i = 0; i < 4; ++i) {
    from->to[i] += words;
  }
}

/* Widens `lines` lines that lie `by` bytes of the map and `behind` lines of a plane further on. */
static inline void tm_planes_further(const tm_planes_call *s, tm_planes_source *from, int32_t by,
                                     int32_t behind, int32_t lines) {
  const int32_t first = from->lines;
  tm_planes_move(from, by, behind * s->words);
  from->lines = lines;
  tm_planes_widen(from);
  tm_planes_move(from, -by, -behind * s->words);
  from->lines = first;
}

/* Widens the lines of channels from c on, in one piece or two: `more` lines from the first row of
 * the ring on. A line that is made on the way comes last. */
static TM_NOINLINE void tm_planes_load(const tm_planes_call *s, tm_planes_source *from,
                                       int32_t more, int32_t c) {
  const int32_t first = from->lines;
  const tm_rows *const in = s->in;
  if (first != 0) {
    tm_planes_widen(from);
  }
  if (more != 0) {
    tm_planes_further(s, from, (first - in->ring) * in->row_bytes, first, more);
  }
  if (s->feed != NULL) {
    const int32_t start = s->x_line < 0 ? 0 : s->x_line;
    tm_planes_feed(s, c);
    tm_planes_further(s, from,
                      (int32_t)((const uint8_t *)tm_row(in, start + first + more) -
                                (const uint8_t *)tm_row(in, start)),
                      first + more, 1);
  }
}

/* The strips of `s->outputs` outputs: of six, then narrower ones; one of them may have an output
 * too many, which goes where another one will. Fills what the job holds throughout. */
static TM_NOINLINE void tm_planes_plan(const tm_planes_call *s, tm_planes_kind kinds[3],
                                       tm_planes_job *job) {
  const tm_conv2d_s8_params *const p = s->p;
  const int32_t line_bytes = 4 * s->words;
  job->step = s->down ? s->out->row_bytes : p->out_c;
  job->line_step = s->down ? p->out_c : s->out->row_bytes;
  job->x_step = (s->stride - (s->kernel->across - 1) * s->dilation) * line_bytes;
  job->x_line = s->dilation * line_bytes;
  job->lo = p->lo;
  job->hi = p->hi;
  job->plane = p->group_out == 1 ? 4 * tm_planes_plane_words(s) : 0;
  for (int32_t done = 0; done < s->outputs; ++kinds) {
    const int32_t left = s->outputs - done;
    const int32_t width = left >= 5 && s->kernel->strips[2] != NULL   ? 6
                          : left >= 3 && s->kernel->strips[1] != NULL ? 4
                                                                      : 2;
    kinds->width = width;
    kinds->first = done;
    kinds->strips = left < width ? 1 : left / width;
    kinds->last = ((left < width ? left : width) - 1) * job->step;
    kinds->strip_step = width * job->step - s->lines * job->line_step;
    done += kinds->strips * width;
  }
}

/* Channels from o on, `channels` of them, whose first plane is x: all strips. */
static inline void tm_planes_strips(const tm_planes_call *s, const tm_planes_kind *kind,
                                    tm_planes_job *job, int8_t *to, const uint32_t *x,
                                    int32_t channels, const int32_t *stream, const int32_t *bias) {
  for (int32_t done = 0; done < s->outputs; ++kind) {
    job->last = kind->last;
    job->strips = kind->strips;
    job->strip_step = kind->strip_step;
    job->to = to + kind->first * job->step;
    job->x = (const uint8_t *)x + 2 * s->kernel->stride * kind->first;
    job->stop = job->x + 4 * s->lines * s->stride * s->words;
    job->channels = channels;
    job->bias = bias;
    done = kind->first + kind->strips * kind->width;
    s->kernel->strips[kind->width / 2 - 1](job, stream);
  }
}
#endif

/* The sum of output e of a line in C; x is the first line of taps. */
static inline uint32_t tm_planes_sum(const tm_planes_instance *k, const uint32_t *x, int32_t line,
                                     int32_t e, int32_t bias, const int32_t *w) {
  uint32_t acc = (uint32_t)bias;
  x += k->stride == 1 ? e >> 1 : e;
  for (int32_t row = 0; row < k->across; ++row, x += line) {
    if (k->stride == 2) {
      for (int32_t t = 0; t < k->taps; ++t) {
        acc = tm_smlad(x[t], (uint32_t)*w++, acc);
      }
    } else if (k->taps == 2) {
      if (e & 1) {
        acc += (uint32_t)(tm_high16(x[0]) * tm_low16((uint32_t)w[0]));
        acc = tm_smlad(x[1], (uint32_t)w[1], acc);
      } else {
        acc = tm_smlad(x[0], (uint32_t)w[0], acc);
        acc += (uint32_t)(tm_low16(x[1]) * tm_high16((uint32_t)w[1]));
      }
      w += 2;
    } else {
      for (int32_t t = 0; t < k->taps; ++t, w += 2) {
        acc = tm_smlad(x[t], (uint32_t)w[e & 1], acc);
      }
    }
  }
  return acc;
}

/* One output channel in C, rescaled by the definition if `exceptional`. */
static TM_NOINLINE void tm_planes_plain(const tm_planes_call *s, const uint32_t *x,
                                        const int32_t *stream, int32_t o, int32_t exceptional) {
  const tm_planes_instance *const k = s->kernel;
  const tm_conv2d_s8_params *const p = s->p;
  const int32_t *const taps = stream + 3 + k->has_correction;
  const int32_t bias = s->bias == NULL ? taps[-1] : s->bias[o];
  for (int32_t y = s->line; y < s->line + s->lines; ++y, x += s->stride * s->words) {
    for (int32_t e = 0; e < s->outputs; ++e) {
      const uint32_t acc = tm_planes_sum(k, x, s->dilation * s->words, e, bias, taps);
      int32_t q;
      if (exceptional) {
        q = tm_rescale((int32_t)acc, p->multiplier, p->shift, p->scale, o) + p->out_zero;
      } else {
        q = tm_smmla((int32_t)acc, stream[0], stream[1]);
        q -= k->has_correction && (int32_t)acc < 0 ? stream[2] : 0;
        q = tm_clamp(q >> k->shift, -128, 127);
      }
      tm_planes_output(s, y, s->out_first + e)[o] = (int8_t)tm_clamp(q, p->lo, p->hi);
    }
  }
}

#if defined(TM_DSP_ASM)
/* Whether outputs lie at equal distances: not across the end of a ring. */
static inline int32_t tm_planes_even(const tm_planes_call *s) {
  return !(s->down && s->out->ring != s->out->rows &&
           s->out_first % s->out->ring + s->outputs > s->out->ring);
}

/* Of channels [o, end) those that the assembly computes in one go; 0: the first by definition. */
static inline int32_t tm_planes_together(const tm_planes_call *s, const int16_t *exceptions,
                                         int32_t o, int32_t end) {
  int32_t channels = end - o;
  if (s->p->group_out != 1 && channels > s->p->group_out - o % s->p->group_out) {
    channels = s->p->group_out - o % s->p->group_out;
  }
  if (exceptions != NULL && channels > *exceptions - o) {
    channels = *exceptions - o;
  }
  return channels;
}
#endif

/* Lines [s->line, s->line + s->lines) of the output. */
static inline void tm_planes_band(tm_planes_call *s) {
  const int16_t *exceptions = s->p->exceptions;
  int32_t base = 0; /* the channel of the first plane */
#if defined(TM_DSP_ASM)
  tm_planes_kind kinds[3];
  tm_planes_job job;
  tm_planes_source source;
  int32_t more = 0;
  const int32_t even = tm_planes_even(s);
  const int32_t gathered = s->planes < 4 || (s->down && tm_planes_wraps(s));
  tm_planes_plan(s, kinds, &job);
  if (!gathered) {
    more = tm_planes_prepare(s, &source);
  }
  const int32_t single = !gathered && more == 0 && s->feed == NULL && source.lines != 0;
#endif
  for (int32_t c = s->part->channel0 / s->p->group_out; c * s->p->group_out < s->part->channel1;
       c += 4) {
    /* the last planes begin earlier where there are no four channels more */
    const int32_t earlier = base;
    base = c + s->planes <= s->p->in_c ? c : s->p->in_c - s->planes;
#if defined(TM_DSP_ASM)
    if (!gathered) {
      source.from += base - earlier;
      if (single) {
        tm_planes_widen(&source);
      } else {
        tm_planes_load(s, &source, more, c);
      }
    } else {
      tm_planes_fetch(s, base, c);
    }
#else
    (void)earlier;
    tm_planes_fetch(s, base, c);
#endif
    int32_t o = c * s->p->group_out;
    int32_t end = o + 4 * s->p->group_out;
    o = o < s->part->channel0 ? s->part->channel0 : o;
    end = end > s->part->channel1 ? s->part->channel1 : end;
    while (o < end) {
      const uint32_t *x = s->scratch + (o / s->p->group_out - base) * tm_planes_plane_words(s);
      const int32_t *stream = s->weights + o * s->kernel->stream;
      while (exceptions != NULL && *exceptions < o) {
        ++exceptions;
      }
#if defined(TM_DSP_ASM)
      const int32_t channels = even ? tm_planes_together(s, exceptions, o, end) : 0;
      if (channels != 0) {
        tm_planes_strips(s, kinds, &job, tm_planes_output(s, s->line, s->out_first) + o, x,
                         channels, stream, s->bias == NULL ? NULL : s->bias + o);
        o += channels;
        continue;
      }
#endif
      tm_planes_plain(s, x, stream, o, exceptions != NULL && *exceptions == o);
      ++o;
    }
  }
}

static TM_NOINLINE tm_status tm_planes_run(const tm_planes_instance *kernel,
                                           const tm_conv2d_s8_params *p, const tm_rows *in,
                                           const int32_t *weights, const int32_t *bias,
                                           const tm_conv2d_feed *feed, const tm_rows *out,
                                           const tm_part *part, uint32_t *scratch) {
  tm_planes_call s;
  s.kernel = kernel;
  s.p = p;
  s.in = in;
  s.out = out;
  s.part = part;
  s.weights = weights;
  s.bias = NULL;
#ifdef TM_VARIABLE_WEIGHTS
  if (bias != NULL) {
    int32_t *const biases = (int32_t *)scratch;
    tm_prepare_biases(p->bias_terms, bias, part->channel0, part->channel1, biases + part->channel0);
    s.bias = biases;
    scratch += p->out_c;
  }
#else
  (void)bias;
#endif
  s.feed = feed;
  s.scratch = scratch;
  s.down = p->in_w == 1;
  if (s.down) {
    s.elements = in->rows;
    s.height = p->in_w;
    s.stride = p->stride_w;
    s.pad = p->pad_left;
    s.dilation = p->dilation_w;
    s.out_first = part->row0;
    s.outputs = part->row1 - part->row0;
    s.first = s.out_first * kernel->stride - p->pad_top;
    s.line = 0;
    s.end = p->out_w;
  } else {
    s.elements = p->in_w;
    s.height = in->rows;
    s.stride = p->stride_h;
    s.pad = p->pad_top;
    s.dilation = p->dilation_h;
    s.out_first = 0;
    s.outputs = p->out_w;
    s.first = -p->pad_left;
    s.line = part->row0;
    s.end = part->row1;
  }
  const int32_t even = (s.outputs + 1) / 2 * 2;
  s.words = (kernel->stride == 1 ? even / 2 : even) + kernel->taps - 1;
  s.planes = p->in_c < 4 ? p->in_c : 4;
  TM_SHARED(&s);
  for (; s.line < s.end; s.line += s.lines) {
    s.lines = s.end - s.line < s.p->plane_lines ? s.end - s.line : s.p->plane_lines;
    if (!s.down && s.out->ring != s.out->rows && s.lines > s.out->ring - s.line % s.out->ring) {
      s.lines = s.out->ring - s.line % s.out->ring;
    }
    s.x_line = s.line * s.stride - s.pad;
    s.x_lines = (s.lines - 1) * s.stride + (s.kernel->across - 1) * s.dilation + 1;
    tm_planes_band(&s);
  }
  return TM_OK;
}

#endif

#if TM_STRIDE == 1
#define TM_PLANES_TAPS (TM_ALONG / 2 + 1) /* words that an output reads of a line */
#else
#define TM_PLANES_TAPS ((TM_ALONG + 1) / 2)
#endif
#if TM_STRIDE == 2 || TM_PLANES_TAPS == 2
#define TM_PLANES_WEIGHTS TM_PLANES_TAPS /* words of a line of taps */
#else
#define TM_PLANES_WEIGHTS (2 * TM_PLANES_TAPS)
#endif
#define TM_PLANES_RECORD (3 + TM_SIGNED) /* words of a record and the bias */

#if defined(TM_DSP_ASM)
/* In the assembly r0 .. r5 are sums, r6 and r7 weights, r8 .. r11 words of the input, r12 points
 * to a line of taps, lr is the distance of those. On the stack lie record and bias, the job, and
 * the weights, so that sp finds them. In the first line of taps each sum starts from the register
 * of the last one, which holds the bias. */
#define TM_PLANES_MLA(op, sum, x, w, from) op " " sum ", " x ", " w ", " from "\n\t"
#define TM_PLANES_LOAD2 "ldrd r6, r7, [sp, #.Ltm_w]\n\t .set .Ltm_w, .Ltm_w + 8\n\t"
#define TM_PLANES_LOAD1 "ldr r6, [sp, #.Ltm_w]\n\t .set .Ltm_w, .Ltm_w + 4\n\t"

#if TM_STRIDE == 1
#if TM_PLANES_TAPS == 2
#define TM_PLANES_FIRST(even, odd, x, from0, from1) \
  TM_PLANES_MLA("smlad", even, x, "r6", from0) TM_PLANES_MLA("smlatb", odd, x, "r6", from1)
#define TM_PLANES_NEXT(even, odd, x) \
  TM_PLANES_MLA("smlabt", even, x, "r7", even) TM_PLANES_MLA("smlad", odd, x, "r7", odd)
#define TM_PLANES_LOAD_NEXT
#else
#define TM_PLANES_FIRST(even, odd, x, from0, from1) \
  TM_PLANES_MLA("smlad", even, x, "r6", from0) TM_PLANES_MLA("smlad", odd, x, "r7", from1)
#define TM_PLANES_NEXT(even, odd, x) TM_PLANES_FIRST(even, odd, x, even, odd)
#define TM_PLANES_LOAD_NEXT TM_PLANES_LOAD2
#endif
/* From word k on of the line: one word or two, as long as an output reads up to word `taps`. */
#define TM_PLANES_WORDS(a, b, k, taps)                                                       \
  ".if %c[taps] == " #taps "\n\t ldr " a ", [r12, #4 * " #k "]\n\t .else\n\t ldrd " a ", " b \
  ", [r12, #4 * " #k "]\n\t .endif\n\t"
#define TM_PLANES_IF(k) ".if %c[taps] > " #k "\n\t"
#define TM_PLANES_END ".endif\n\t"

#define TM_PLANES_NEXT2(a) TM_PLANES_LOAD_NEXT TM_PLANES_NEXT("r0", "r1", a)
#define TM_PLANES_NEXT4(a, b) TM_PLANES_NEXT2(a) TM_PLANES_NEXT("r2", "r3", b)
#define TM_PLANES_NEXT6(a, b, c) TM_PLANES_NEXT4(a, b) TM_PLANES_NEXT("r4", "r5", c)

#define TM_PLANES_LINE6(f0, f1, f2, f3, f4, f5)                                                 \
  "ldrd r8, r9, [r12]\n\t" TM_PLANES_WORDS("r10", "r11", 2, 1) TM_PLANES_LOAD2 TM_PLANES_FIRST( \
      "r0", "r1", "r8", f0, f1) TM_PLANES_FIRST("r2", "r3", "r9", f2, f3)                       \
      TM_PLANES_FIRST("r4", "r5", "r10", f4, f5) TM_PLANES_IF(1) TM_PLANES_NEXT6(               \
          "r9", "r10", "r11") TM_PLANES_END TM_PLANES_IF(2) TM_PLANES_WORDS("r8", "r9", 4, 3)   \
          TM_PLANES_NEXT6("r10", "r11", "r8") TM_PLANES_END TM_PLANES_IF(3)                     \
              TM_PLANES_NEXT6("r11", "r8", "r9") TM_PLANES_END TM_PLANES_IF(4)                  \
                  TM_PLANES_WORDS("r10", "r11", 6, 5) TM_PLANES_NEXT6("r8", "r9", "r10")        \
                      TM_PLANES_END TM_PLANES_IF(5) TM_PLANES_NEXT6("r9", "r10", "r11")         \
                          TM_PLANES_END TM_PLANES_IF(6) TM_PLANES_WORDS("r8", "r9", 8, 7)       \
                              TM_PLANES_NEXT6("r10", "r11", "r8") TM_PLANES_END TM_PLANES_IF(7) \
                                  TM_PLANES_NEXT6("r11", "r8", "r9") TM_PLANES_END
#define TM_PLANES_LINE4(f0, f1, f2, f3)                                                            \
  "ldrd r8, r9, [r12]\n\t" TM_PLANES_LOAD2 TM_PLANES_FIRST("r0", "r1", "r8", f0, f1)               \
      TM_PLANES_FIRST("r2", "r3", "r9", f2, f3) TM_PLANES_IF(1)                                    \
          TM_PLANES_WORDS("r10", "r11", 2, 2) TM_PLANES_NEXT4("r9", "r10")                         \
              TM_PLANES_END TM_PLANES_IF(2) TM_PLANES_NEXT4("r10", "r11")                          \
                  TM_PLANES_END TM_PLANES_IF(3) TM_PLANES_WORDS("r8", "r9", 4, 4)                  \
                      TM_PLANES_NEXT4("r11", "r8") TM_PLANES_END TM_PLANES_IF(4)                   \
                          TM_PLANES_NEXT4("r8", "r9") TM_PLANES_END TM_PLANES_IF(5)                \
                              TM_PLANES_WORDS("r10", "r11", 6, 6) TM_PLANES_NEXT4("r9", "r10")     \
                                  TM_PLANES_END TM_PLANES_IF(6) TM_PLANES_NEXT4("r10", "r11")      \
                                      TM_PLANES_END TM_PLANES_IF(                                  \
                                          7) "ldr r8, [r12, #32]\n\t" TM_PLANES_NEXT4("r11", "r8") \
                                          TM_PLANES_END
#define TM_PLANES_LINE2(f0, f1)                                                                   \
  TM_PLANES_WORDS("r8", "r9", 0, 1)                                                               \
  TM_PLANES_LOAD2 TM_PLANES_FIRST("r0", "r1", "r8", f0, f1) TM_PLANES_IF(1) TM_PLANES_NEXT2("r9") \
      TM_PLANES_END TM_PLANES_IF(2) TM_PLANES_WORDS("r10", "r11", 2, 3) TM_PLANES_NEXT2("r10")    \
          TM_PLANES_END TM_PLANES_IF(3) TM_PLANES_NEXT2("r11") TM_PLANES_END TM_PLANES_IF(4)      \
              TM_PLANES_WORDS("r8", "r9", 4, 5) TM_PLANES_NEXT2("r8")                             \
                  TM_PLANES_END TM_PLANES_IF(5) TM_PLANES_NEXT2("r9")                             \
                      TM_PLANES_END TM_PLANES_IF(6) TM_PLANES_WORDS("r10", "r11", 6, 7)           \
                          TM_PLANES_NEXT2("r10") TM_PLANES_END TM_PLANES_IF(7)                    \
                              TM_PLANES_NEXT2("r11") TM_PLANES_END

#else
#define TM_PLANES_ONE(sum, x, from) TM_PLANES_MLA("smlad", sum, x, "r6", from)
#define TM_PLANES_TWO(sum, x0, x1, from) \
  TM_PLANES_MLA("smlad", sum, x0, "r6", from) TM_PLANES_MLA("smlad", sum, x1, "r7", sum)
#define TM_PLANES_X1(a, k) "ldr " a ", [r12, #.Ltm_x + 4 * " #k "]\n\t"
#define TM_PLANES_X2(a, b, k) "ldrd " a ", " b ", [r12, #.Ltm_x + 4 * " #k "]\n\t"

#define TM_PLANES_ONE6(f0, f1, f2, f3, f4, f5)                                                \
  TM_PLANES_LOAD1 TM_PLANES_X2("r8", "r9", 0) TM_PLANES_X2("r10", "r11", 2)                   \
      TM_PLANES_ONE("r0", "r8", f0) TM_PLANES_ONE("r1", "r9", f1) TM_PLANES_X2("r8", "r9", 4) \
          TM_PLANES_ONE("r2", "r10", f2) TM_PLANES_ONE("r3", "r11", f3)                       \
              TM_PLANES_ONE("r4", "r8", f4) TM_PLANES_ONE("r5", "r9", f5)
#define TM_PLANES_TWO6(f0, f1, f2, f3, f4, f5)                                 \
  TM_PLANES_LOAD2 TM_PLANES_X2("r8", "r9", 0) TM_PLANES_X2("r10", "r11", 2)    \
      TM_PLANES_TWO("r0", "r8", "r9", f0) TM_PLANES_TWO("r1", "r9", "r10", f1) \
          TM_PLANES_X2("r8", "r9", 4) TM_PLANES_TWO("r2", "r10", "r11", f2)    \
              TM_PLANES_TWO("r3", "r11", "r8", f3) TM_PLANES_X1("r10", 6)      \
                  TM_PLANES_TWO("r4", "r8", "r9", f4) TM_PLANES_TWO("r5", "r9", "r10", f5)
#define TM_PLANES_ONE4(f0, f1, f2, f3)                                                           \
  TM_PLANES_LOAD1 TM_PLANES_X2("r8", "r9", 0) TM_PLANES_X2("r10", "r11", 2)                      \
      TM_PLANES_ONE("r0", "r8", f0) TM_PLANES_ONE("r1", "r9", f1) TM_PLANES_ONE("r2", "r10", f2) \
          TM_PLANES_ONE("r3", "r11", f3)
#define TM_PLANES_TWO4(f0, f1, f2, f3)                                               \
  TM_PLANES_LOAD2 TM_PLANES_X2("r8", "r9", 0) TM_PLANES_X2("r10", "r11", 2)          \
      TM_PLANES_TWO("r0", "r8", "r9", f0) TM_PLANES_X1("r8", 4)                      \
          TM_PLANES_TWO("r1", "r9", "r10", f1) TM_PLANES_TWO("r2", "r10", "r11", f2) \
              TM_PLANES_TWO("r3", "r11", "r8", f3)
#define TM_PLANES_ONE2(f0, f1)                                              \
  TM_PLANES_LOAD1 TM_PLANES_X2("r8", "r9", 0) TM_PLANES_ONE("r0", "r8", f0) \
      TM_PLANES_ONE("r1", "r9", f1)
#define TM_PLANES_TWO2(f0, f1)                                       \
  TM_PLANES_LOAD2 TM_PLANES_X2("r8", "r9", 0) TM_PLANES_X1("r10", 2) \
      TM_PLANES_TWO("r0", "r8", "r9", f0) TM_PLANES_TWO("r1", "r9", "r10", f1)

/* Two words of taps at a time; an odd one is the last. */
#define TM_PLANES_LINE(two, one, two_more, one_more)                \
  ".set .Ltm_x, 0\n\t .if %c[taps] == 1\n\t" one ".else\n\t" two    \
  ".rept %c[taps] / 2 - 1\n\t .set .Ltm_x, .Ltm_x + 8\n\t" two_more \
  ".endr\n\t .if %c[taps] & 1\n\t .set .Ltm_x, .Ltm_x + 8\n\t" one_more ".endif\n\t .endif\n\t"
#define TM_PLANES_LINE6(f0, f1, f2, f3, f4, f5)                                                  \
  TM_PLANES_LINE(TM_PLANES_TWO6(f0, f1, f2, f3, f4, f5), TM_PLANES_ONE6(f0, f1, f2, f3, f4, f5), \
                 TM_PLANES_TWO6("r0", "r1", "r2", "r3", "r4", "r5"),                             \
                 TM_PLANES_ONE6("r0", "r1", "r2", "r3", "r4", "r5"))
#define TM_PLANES_LINE4(f0, f1, f2, f3)                                          \
  TM_PLANES_LINE(TM_PLANES_TWO4(f0, f1, f2, f3), TM_PLANES_ONE4(f0, f1, f2, f3), \
                 TM_PLANES_TWO4("r0", "r1", "r2", "r3"), TM_PLANES_ONE4("r0", "r1", "r2", "r3"))
#define TM_PLANES_LINE2(f0, f1)                                                              \
  TM_PLANES_LINE(TM_PLANES_TWO2(f0, f1), TM_PLANES_ONE2(f0, f1), TM_PLANES_TWO2("r0", "r1"), \
                 TM_PLANES_ONE2("r0", "r1"))
#endif

#if TM_SIGNED
#define TM_PLANES_CORRECTION "ldr r8, [sp, #8]\n\t"
#define TM_PLANES_SCALE(sum)                                                              \
  "and r9, r8, " sum ", asr #31\n\t smmla " sum ", " sum ", r6, r7\n\t sub " sum ", " sum \
  ", "                                                                                    \
  "r9\n\t"
#else
#define TM_PLANES_CORRECTION
#define TM_PLANES_SCALE(sum) "smmla " sum ", " sum ", r6, r7\n\t"
#endif
#if TM_CLAMPED
#define TM_PLANES_NARROW(sum)                                                             \
  "ssat " sum ", #8, " sum ", asr %[shift]\n\t cmp " sum ", r10\n\t it lt\n\t movlt " sum \
  ", r10\n\t cmp " sum ", r11\n\t it gt\n\t movgt " sum ", r11\n\t"
#define TM_PLANES_LIMITS "ldrd r10, r11, [sp, #%c[job] + 40]\n\t"
#else
#define TM_PLANES_NARROW(sum) "ssat " sum ", #8, " sum ", asr %[shift]\n\t"
#define TM_PLANES_LIMITS
#endif

#if TM_VARIED
#define TM_PLANES_BIAS                                                                        \
  "ldr r2, [r0, #56]\n\t ldr r3, [r2], #4\n\t str r2, [r0, #56]\n\t str r3, [sp, #%c[job] - " \
  "4]\n\t"
#else
#define TM_PLANES_BIAS
#endif

/* A function for strips of some width: `last` is the register of the last sum, `first` and `line`
 * the sums of the first and of another line of taps, `scale` and `narrow` the rescaling of all,
 * `store` writes all but the last output: r6 is the distance of outputs, r8 points to the first,
 * r7 is free. */
#define TM_PLANES_STRIPS(name, outputs, last, first_line, line, scale, narrow, store)      \
  static __attribute__((noinline)) void TM_INSTANCE(name)(tm_planes_job * job,             \
                                                          const int32_t *stream) {         \
    register tm_planes_job *r0 __asm__("r0") = job;                                        \
    register const int32_t *r1 __asm__("r1") = stream;                                     \
    __asm__ volatile(                                                                      \
        "4:\n\t"                                                                           \
        "addw r1, r1, #4 * (%c[record] + %c[weights])\n\t"                                 \
        "push {r0, r1}\n\t"                                                                \
        ".rept %c[weights] / 8\n\t"                                                        \
        "ldmdb r1!, {r2, r3, r4, r5, r6, r7, r8, r9}\n\t"                                  \
        "push {r2, r3, r4, r5, r6, r7, r8, r9}\n\t"                                        \
        ".endr\n\t .if %c[weights] & 4\n\t"                                                \
        "ldmdb r1!, {r2, r3, r4, r5}\n\t"                                                  \
        "push {r2, r3, r4, r5}\n\t"                                                        \
        ".endif\n\t .if %c[weights] & 2\n\t"                                               \
        "ldmdb r1!, {r2, r3}\n\t"                                                          \
        "push {r2, r3}\n\t"                                                                \
        ".endif\n\t .if %c[weights] & 1\n\t"                                               \
        "ldr r2, [r1, #-4]!\n\t"                                                           \
        "push {r2}\n\t"                                                                    \
        ".endif\n\t"                                                                       \
        "ldm r0, {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, lr}\n\t"                  \
        "push {r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, lr}\n\t"                     \
        ".if %c[record] == 4\n\t"                                                          \
        "ldmdb r1, {r2, r3, r4, r5}\n\t"                                                   \
        "push {r2, r3, r4, r5}\n\t"                                                        \
        ".else\n\t"                                                                        \
        "ldmdb r1, {r2, r3, r4}\n\t"                                                       \
        "push {r2, r3, r4}\n\t"                                                            \
        ".endif\n\t" TM_PLANES_BIAS                                                        \
        "ldrd r12, lr, [sp, #%c[job] + 24]\n"                                              \
        "1:\n\t"                                                                           \
        "ldr " last                                                                        \
        ", [sp, #%c[job] - 4]\n\t"                                                         \
        ".set .Ltm_w, %c[job] + 48\n\t" first_line                                         \
        ".rept %c[across] - 1\n\t"                                                         \
        "add r12, r12, lr\n\t" line                                                        \
        ".endr\n\t"                                                                        \
        "ldrd r6, r7, [sp]\n\t" TM_PLANES_CORRECTION scale                                 \
        "ldrd r6, r7, [sp, #%c[job]]\n\t"                                                  \
        "ldrd r8, r9, [sp, #%c[job] + 8]\n\t" TM_PLANES_LIMITS narrow                      \
        "ldrd r10, r11, [sp, #%c[job] + 16]\n\t"                                           \
        "strb " last ", [r8, r7]\n\t" store                                                \
        "add r8, r8, r9\n\t"                                                               \
        "add r12, r12, r10\n\t"                                                            \
        "str r8, [sp, #%c[job] + 8]\n\t"                                                   \
        "cmp r12, r11\n\t"                                                                 \
        "bne 1b\n\t"                                                                       \
        "ldrd r6, r7, [sp, #%c[job] + 32]\n\t"                                             \
        "ldr r12, [sp, #%c[job] + 24]\n\t"                                                 \
        "add r8, r8, r7\n\t"                                                               \
        "add r11, r11, %[x_strip]\n\t"                                                     \
        "add r12, r12, %[x_strip]\n\t"                                                     \
        "str r8, [sp, #%c[job] + 8]\n\t"                                                   \
        "strd r11, r12, [sp, #%c[job] + 20]\n\t"                                           \
        "subs r6, r6, #1\n\t"                                                              \
        "str r6, [sp, #%c[job] + 32]\n\t"                                                  \
        "bne 1b\n\t"                                                                       \
        "addw sp, sp, #%c[job] + 48 + 4 * %c[weights]\n\t"                                 \
        "pop {r0, r1}\n\t"                                                                 \
        "ldr r4, [r0, #8]\n\t"                                                             \
        "ldrd r5, r6, [r0, #20]\n\t"                                                       \
        "ldrd r2, r3, [r0, #48]\n\t"                                                       \
        "add r4, r4, #1\n\t"                                                               \
        "add r5, r5, r3\n\t"                                                               \
        "add r6, r6, r3\n\t"                                                               \
        "str r4, [r0, #8]\n\t"                                                             \
        "strd r5, r6, [r0, #20]\n\t"                                                       \
        "subs r2, r2, #1\n\t"                                                              \
        "str r2, [r0, #48]\n\t"                                                            \
        "bne 4b\n\t"                                                                       \
        : "+r"(r0), "+r"(r1)                                                               \
        : [shift] "i"(TM_SHIFT), [taps] "i"(TM_PLANES_TAPS), [across] "i"(TM_ACROSS),      \
          [record] "i"(TM_PLANES_RECORD), [weights] "i"(TM_ACROSS * TM_PLANES_WEIGHTS),    \
          [job] "i"(4 * TM_PLANES_RECORD), [x_strip] "i"(2 * TM_STRIDE * (outputs))        \
        : "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "cc", \
          "memory");                                                                       \
  }

TM_PLANES_STRIPS(tm_planes_strips2, 2, "r1", TM_PLANES_LINE2("r1", "r1"),
                 TM_PLANES_LINE2("r0", "r1"), TM_PLANES_SCALE("r0") TM_PLANES_SCALE("r1"),
                 TM_PLANES_NARROW("r0") TM_PLANES_NARROW("r1"), "strb r0, [r8]\n\t")
#if TM_FOURS
TM_PLANES_STRIPS(tm_planes_strips4, 4, "r3", TM_PLANES_LINE4("r3", "r3", "r3", "r3"),
                 TM_PLANES_LINE4("r0", "r1", "r2", "r3"),
                 TM_PLANES_SCALE("r0") TM_PLANES_SCALE("r1") TM_PLANES_SCALE("r2")
                     TM_PLANES_SCALE("r3"),
                 TM_PLANES_NARROW("r0") TM_PLANES_NARROW("r1") TM_PLANES_NARROW("r2")
                     TM_PLANES_NARROW("r3"),
                 "strb r0, [r8]\n\t"
                 "strb r1, [r8, r6]\n\t"
                 "strb r2, [r8, r6, lsl #1]\n\t")
#define TM_PLANES_FOURS TM_INSTANCE(tm_planes_strips4)
#else
#define TM_PLANES_FOURS NULL
#endif
#if TM_SIXES
#define TM_PLANES_SIXES TM_INSTANCE(tm_planes_strips6)
TM_PLANES_STRIPS(tm_planes_strips6, 6, "r5", TM_PLANES_LINE6("r5", "r5", "r5", "r5", "r5", "r5"),
                 TM_PLANES_LINE6("r0", "r1", "r2", "r3", "r4", "r5"),
                 TM_PLANES_SCALE("r0") TM_PLANES_SCALE("r1") TM_PLANES_SCALE("r2")
                     TM_PLANES_SCALE("r3") TM_PLANES_SCALE("r4") TM_PLANES_SCALE("r5"),
                 TM_PLANES_NARROW("r0") TM_PLANES_NARROW("r1") TM_PLANES_NARROW("r2")
                     TM_PLANES_NARROW("r3") TM_PLANES_NARROW("r4") TM_PLANES_NARROW("r5"),
                 "add r7, r6, r6, lsl #1\n\t"
                 "strb r0, [r8]\n\t"
                 "strb r1, [r8, r6]\n\t"
                 "strb r2, [r8, r6, lsl #1]\n\t"
                 "strb r3, [r8, r7]\n\t"
                 "strb r4, [r8, r6, lsl #2]\n\t")
#else
#define TM_PLANES_SIXES NULL
#endif
#endif

static const tm_planes_instance TM_INSTANCE(tm_planes_kernel) = {
    TM_ACROSS,
    TM_STRIDE,
    TM_PLANES_TAPS,
    TM_PLANES_RECORD + TM_ACROSS * TM_PLANES_WEIGHTS,
#if defined(TM_DSP_ASM)
    {TM_INSTANCE(tm_planes_strips2), TM_PLANES_FOURS, TM_PLANES_SIXES},
#else
    {NULL, NULL, NULL},
#endif
    TM_SIGNED,
    TM_SHIFT,
};

static inline tm_status TM_INSTANCE(tm_dwconv2d_planes_s8)(const tm_conv2d_s8_params *p,
                                                           const tm_rows *in,
                                                           const int32_t *weights,
                                                           const int32_t *bias, const tm_rows *out,
                                                           const tm_part *part, void *scratch) {
#if TM_VARIED
  return tm_planes_run(&TM_INSTANCE(tm_planes_kernel), p, in, weights, bias, NULL, out, part,
                       (uint32_t *)scratch);
#else
  (void)bias;
  return tm_planes_run(&TM_INSTANCE(tm_planes_kernel), p, in, weights, NULL, NULL, out, part,
                       (uint32_t *)scratch);
#endif
}

#if !TM_VARIED
/* One output row, the last of its input rows made by `feed` if it is not NULL. */
static inline tm_status TM_INSTANCE(tm_dwconv2d_planes_fed_s8)(
    const tm_conv2d_s8_params *p, const tm_rows *in, const int32_t *weights,
    const tm_conv2d_feed *feed, const tm_rows *out, const tm_part *part, void *scratch) {
  return tm_planes_run(&TM_INSTANCE(tm_planes_kernel), p, in, weights, NULL, feed, out, part,
                       (uint32_t *)scratch);
}
#endif

#undef TM_PLANES_TAPS
#undef TM_PLANES_WEIGHTS
#undef TM_PLANES_RECORD
#undef TM_PLANES_MLA
#undef TM_PLANES_LOAD2
#undef TM_PLANES_LOAD1
#undef TM_PLANES_FIRST
#undef TM_PLANES_NEXT
#undef TM_PLANES_LOAD_NEXT
#undef TM_PLANES_WORDS
#undef TM_PLANES_IF
#undef TM_PLANES_END
#undef TM_PLANES_NEXT2
#undef TM_PLANES_NEXT4
#undef TM_PLANES_NEXT6
#undef TM_PLANES_LINE6
#undef TM_PLANES_LINE4
#undef TM_PLANES_LINE2
#undef TM_PLANES_ONE
#undef TM_PLANES_TWO
#undef TM_PLANES_X1
#undef TM_PLANES_X2
#undef TM_PLANES_ONE6
#undef TM_PLANES_TWO6
#undef TM_PLANES_ONE4
#undef TM_PLANES_TWO4
#undef TM_PLANES_ONE2
#undef TM_PLANES_TWO2
#undef TM_PLANES_LINE
#undef TM_PLANES_CORRECTION
#undef TM_PLANES_SCALE
#undef TM_PLANES_NARROW
#undef TM_PLANES_LIMITS
#undef TM_PLANES_BIAS
#undef TM_PLANES_STRIPS
#undef TM_PLANES_FOURS
#undef TM_PLANES_SIXES
#undef TM_VARIED
