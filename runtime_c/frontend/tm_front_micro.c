#include "tm_front_micro.h"

#include <stddef.h>

/* x / 32768, rounded, as 16 bits. */
static inline int16_t tm_front_micro_half(int32_t x) {
  return (int16_t)((x + (1 << 14)) >> 15);
}

static inline int16_t tm_front_micro_divided(int16_t x, int32_t by) {
  return tm_front_micro_half((int32_t)x * (32767 / by));
}

/* A point / radix, times the twiddle w. */
static inline void tm_front_micro_term(const int16_t *at, int32_t radix, const int16_t *w,
                                       int16_t *re, int16_t *im) {
  const int32_t x = tm_front_micro_divided(at[0], radix);
  const int32_t y = tm_front_micro_divided(at[1], radix);
  *re = tm_front_micro_half(x * w[0] - y * w[1]);
  *im = tm_front_micro_half(x * w[1] + y * w[0]);
}

/* Butterflies of two neighbours, over all n points. */
static void tm_front_micro_twos(int16_t *points, const int16_t *twiddles, int32_t n) {
  for (int16_t *at = points; at < points + 2 * n; at += 4) {
    const int16_t a_re = tm_front_micro_divided(at[0], 2);
    const int16_t a_im = tm_front_micro_divided(at[1], 2);
    int16_t b_re;
    int16_t b_im;
    tm_front_micro_term(at + 2, 2, twiddles, &b_re, &b_im);
    at[0] = (int16_t)(a_re + b_re);
    at[1] = (int16_t)(a_im + b_im);
    at[2] = (int16_t)(a_re - b_re);
    at[3] = (int16_t)(a_im - b_im);
  }
}

/* Butterflies of four points, m apart, over all n of them. */
static void tm_front_micro_fours(int16_t *points, const int16_t *twiddles, int32_t n, int32_t m) {
  const int32_t step = n / (4 * m);
  for (int32_t k = 0; k < m; ++k) {
    const int16_t *w1 = twiddles + 2 * k * step;
    const int16_t *w2 = twiddles + 4 * k * step;
    const int16_t *w3 = twiddles + 6 * k * step;
    for (int16_t *at = points + 2 * k; at < points + 2 * n; at += 8 * m) {
      const int16_t a_re = tm_front_micro_divided(at[0], 4);
      const int16_t a_im = tm_front_micro_divided(at[1], 4);
      int16_t b_re;
      int16_t b_im;
      int16_t c_re;
      int16_t c_im;
      int16_t d_re;
      int16_t d_im;
      tm_front_micro_term(at + 2 * m, 4, w1, &b_re, &b_im);
      tm_front_micro_term(at + 4 * m, 4, w2, &c_re, &c_im);
      tm_front_micro_term(at + 6 * m, 4, w3, &d_re, &d_im);
      /* each sum has 16 bits, and what is beyond them is lost */
      const int16_t apart_re = (int16_t)(a_re - c_re);
      const int16_t apart_im = (int16_t)(a_im - c_im);
      const int16_t sum_re = (int16_t)(a_re + c_re);
      const int16_t sum_im = (int16_t)(a_im + c_im);
      const int16_t odd_re = (int16_t)(b_re + d_re);
      const int16_t odd_im = (int16_t)(b_im + d_im);
      const int16_t turn_re = (int16_t)(b_re - d_re);
      const int16_t turn_im = (int16_t)(b_im - d_im);
      at[0] = (int16_t)(sum_re + odd_re);
      at[1] = (int16_t)(sum_im + odd_im);
      at[2 * m] = (int16_t)(apart_re + turn_im);
      at[2 * m + 1] = (int16_t)(apart_im - turn_re);
      at[4 * m] = (int16_t)(sum_re - odd_re);
      at[4 * m + 1] = (int16_t)(sum_im - odd_im);
      at[6 * m] = (int16_t)(apart_re - turn_im);
      at[6 * m + 1] = (int16_t)(apart_im + turn_re);
    }
  }
}

/* The windowed samples in the FFT's order, shifted up to 15 bits; gives the shift. */
static int32_t tm_front_micro_window(const tm_front_micro_params *p, const int16_t *samples,
                                     int16_t *points) {
  const int32_t n = p->fft / 2;
  int32_t most = 0;
  int32_t place = 0;
  for (int32_t point = 0; point < n; ++point) {
    int16_t *at = points + 2 * place;
    place = tm_front_next_place(place, n, 2);
    for (int32_t part = 0; part < 2; ++part) {
      const int32_t i = 2 * point + part;
      int16_t value = 0;
      if (i < p->length) {
        value = (int16_t)(((int32_t)samples[i] * p->coefficients[i]) >> 12);
      }
      at[part] = value;
      /* -32768 has no absolute value of 16 bits, and so it doesn't count */
      const int16_t size = (int16_t)(value < 0 ? -value : value);
      most = size > most ? size : most;
    }
  }
  const int32_t shift = most == 0 ? 0 : 15 - tm_front_bits((uint32_t)most);
  for (int32_t i = 0; i < p->fft; ++i) {
    points[i] = (int16_t)(uint16_t)((uint32_t)(uint16_t)points[i] << shift);
  }
  return shift;
}

/* The spectrum of the fft real samples from the transform of their n = fft / 2 pairs, in place:
 * n + 1 points. */
static void tm_front_micro_split(int16_t *points, const int16_t *split, int32_t n) {
  const int16_t re = tm_front_micro_divided(points[0], 2);
  const int16_t im = tm_front_micro_divided(points[1], 2);
  points[0] = (int16_t)(re + im);
  points[1] = 0;
  points[2 * n] = (int16_t)(re - im);
  points[2 * n + 1] = 0;
  for (int32_t k = 1; k <= n / 2; ++k) {
    int16_t *here = points + 2 * k;
    int16_t *there = points + 2 * (n - k);
    const int16_t a_re = tm_front_micro_divided(here[0], 2);
    const int16_t a_im = tm_front_micro_divided(here[1], 2);
    const int16_t b_re = tm_front_micro_divided(there[0], 2);
    const int16_t b_im = tm_front_micro_divided((int16_t)-there[1], 2);
    const int16_t even_re = (int16_t)(a_re + b_re);
    const int16_t even_im = (int16_t)(a_im + b_im);
    const int16_t odd_re = (int16_t)(a_re - b_re);
    const int16_t odd_im = (int16_t)(a_im - b_im);
    const int16_t *w = split + 2 * (k - 1);
    const int32_t turn_re = tm_front_micro_half((int32_t)odd_re * w[0] - (int32_t)odd_im * w[1]);
    const int32_t turn_im = tm_front_micro_half((int32_t)odd_re * w[1] + (int32_t)odd_im * w[0]);
    here[0] = (int16_t)((even_re + turn_re) >> 1);
    here[1] = (int16_t)((even_im + turn_im) >> 1);
    there[0] = (int16_t)((even_re - turn_re) >> 1);
    there[1] = (int16_t)((turn_im - even_im) >> 1);
  }
}

/* The square root, rounded; below 2^32 at most 65535. */
static uint32_t tm_front_micro_root(uint64_t x) {
  if (x >> 32 == 0) {
    uint32_t rest;
    const uint32_t root = tm_front_root((uint32_t)x, &rest);
    return rest > root && root != 0xFFFFu ? root + 1 : root;
  }
  uint64_t root = 0;
  for (uint64_t bit = (uint64_t)1 << ((tm_front_bits64(x) - 1) & ~1); bit != 0; bit >>= 2) {
    if (x >= root + bit) {
      x -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  return (uint32_t)(x > root && root != 0xFFFFFFFFu ? root + 1 : root);
}

/* The gain for a noise estimate: between powers of two a parabola. */
static int16_t tm_front_micro_gain(uint32_t noise, const int16_t *gains) {
  if (noise <= 2) {
    return gains[noise];
  }
  const int32_t bits = tm_front_bits(noise);
  const int16_t *terms = gains + 3 * bits - 3;
  const int32_t part =
      (int32_t)((bits < 11 ? noise << (11 - bits) : noise >> (bits - 11)) & 0x3FFu);
  const int32_t slope = ((terms[2] * part) >> 5) + terms[1] * 32;
  return (int16_t)(((slope * part + (1 << 14)) >> 15) + terms[0]);
}

static uint32_t tm_front_micro_shrunk(uint32_t ratio) {
  return ratio < 8192u ? (ratio * ratio) >> 20 : (ratio >> 6) - 64u;
}

/* 2^shift ln(x), rounded. */
static uint32_t tm_front_micro_log(uint32_t x, int32_t shift, const uint16_t *logs) {
  const int32_t whole = tm_front_bits(x) - 1;
  uint32_t rest = x - ((uint32_t)1 << whole);
  rest = whole < 16 ? rest << (16 - whole) : rest >> (whole - 16);
  const uint32_t log2 = ((uint32_t)whole << 16) + (uint32_t)tm_front_log2((int32_t)rest, logs, 16);
  const uint32_t natural = (uint32_t)(((uint64_t)log2 * 45426u + 32768u) >> 16);
  return ((natural << shift) + 32768u) >> 16;
}

/* A channel's feature from its energy's root. */
static uint32_t tm_front_micro_feature(const tm_front_micro_params *p, uint32_t signal,
                                       int32_t channel, uint32_t *noise) {
  const uint32_t part = (uint32_t)((channel & 1) == 0 ? p->even : p->odd);
  const uint32_t scaled = signal << p->smoothing_bits;
  const uint32_t estimate =
      (uint32_t)(((uint64_t)scaled * part + (uint64_t)*noise * (16384u - part)) >> 14);
  *noise = estimate;
  const uint32_t least = (uint32_t)(((uint64_t)signal * (uint32_t)p->least) >> 14);
  const uint32_t left = (scaled - (estimate < scaled ? estimate : scaled)) >> p->smoothing_bits;
  uint32_t value = left > least ? left : least;
  if (p->gains != NULL) {
    const uint32_t gain = (uint32_t)tm_front_micro_gain(estimate, p->gains);
    value = tm_front_micro_shrunk((uint32_t)(((uint64_t)value * gain) >> p->snr_shift));
  }
  value <<= p->correction;
  if (p->log_shift >= 0) {
    value = value > 1 ? tm_front_micro_log(value, p->log_shift, p->logs) : 0;
  }
  return value < 0xFFFFu ? value : 0xFFFFu;
}

static void tm_front_micro(const tm_front_micro_params *p, const int16_t *samples, uint32_t *noise,
                           void *scratch, tm_front_element *row) {
  int16_t *const points = (int16_t *)scratch;
  const int32_t n = p->fft / 2;
  const int32_t shift = tm_front_micro_window(p, samples, points);
  int32_t m = 1;
  if ((tm_front_bits((uint32_t)n) & 1) == 0) {
    tm_front_micro_twos(points, p->twiddles, n);
    m = 2;
  }
  for (; m < n; m *= 4) {
    tm_front_micro_fours(points, p->twiddles, n, m);
  }
  tm_front_micro_split(points, p->split, n);
  const int16_t *bin = points + 2 * p->first;
  const uint16_t *weight = p->weights;
  const uint16_t *other = p->others;
  uint64_t carried = 0;
  for (int32_t band = 0; band <= p->channels; ++band) {
    uint64_t own = carried;
    carried = 0;
    for (int32_t i = 0; i < p->widths[band]; ++i) {
      const int32_t re = bin[0];
      const int32_t im = bin[1];
      const uint64_t energy = (uint32_t)(re * re) + (uint32_t)(im * im);
      own += energy * *weight++;
      carried += energy * *other++;
      bin += 2;
    }
    if (band > 0) {
      const uint32_t signal = tm_front_micro_root(own) >> shift;
      const uint32_t feature = tm_front_micro_feature(p, signal, band - 1, noise + band - 1);
      row[band - 1] = tm_front_stored(p->stores, (int32_t)feature);
    }
  }
}
