#include "tm_front_mel.h"

#include <stddef.h>

#define TM_FRONT_MEL_HALF ((int64_t)1 << 29)

/* x times the twiddle w. */
static inline void tm_front_mel_times(int32_t re, int32_t im, const int32_t *w, int32_t *out_re,
                                      int32_t *out_im) {
  *out_re = (int32_t)(((int64_t)re * w[0] - (int64_t)im * w[1] + TM_FRONT_MEL_HALF) >> 30);
  *out_im = (int32_t)(((int64_t)re * w[1] + (int64_t)im * w[0] + TM_FRONT_MEL_HALF) >> 30);
}

/* The transform of n = fft / 2 complex points in bit-reversed order, in place. */
static void tm_front_mel_transform(const tm_front_mel_params *p, int32_t *points) {
  const int32_t n = 1 << (p->order - 1);
  for (int32_t half = 1; half < n; half *= 2) {
    const int32_t step = n / half; /* of fft / (2 half) twiddles */
    for (int32_t k = 0; k < half; ++k) {
      const int32_t *w = p->twiddles + 2 * k * step;
      for (int32_t *a = points + 2 * k; a < points + 2 * n; a += 4 * half) {
        int32_t *b = a + 2 * half;
        int32_t re = b[0];
        int32_t im = b[1];
        if (k != 0) { /* else times 1, exactly */
          tm_front_mel_times(re, im, w, &re, &im);
        }
        b[0] = a[0] - re;
        b[1] = a[1] - im;
        a[0] += re;
        a[1] += im;
      }
    }
  }
}

/* The energy of bin k, from the transform of the pairs of samples. */
static uint64_t tm_front_mel_energy(const tm_front_mel_params *p, const int32_t *points,
                                    int32_t k) {
  const int32_t n = 1 << (p->order - 1);
  const int32_t *here = points + 2 * (k & (n - 1));
  const int32_t *there = points + 2 * ((n - k) & (n - 1));
  int32_t re = here[1] + there[1];
  int32_t im = there[0] - here[0];
  if (k == n) {
    re = -re;
    im = -im;
  } else {
    tm_front_mel_times(re, im, p->twiddles + 2 * k, &re, &im);
  }
  re += here[0] + there[0];
  im += here[1] - there[1];
  const uint64_t energy = (uint64_t)((int64_t)re * re + (int64_t)im * im);
  if (p->power == 2) {
    return energy >> 12;
  }
  const int32_t bits = tm_front_bits64(energy);
  const int32_t shift = bits > 32 ? (bits - 31) & ~1 : 0;
  uint32_t rest;
  return (uint64_t)tm_front_root((uint32_t)(energy >> shift), &rest) << (shift / 2);
}

static int32_t tm_front_mel_log(const tm_front_mel_params *p, uint64_t sum) {
  if (sum == 0) {
    sum = 1;
  }
  const int32_t whole = tm_front_bits64(sum) - 1;
  const uint64_t rest = whole < 16 ? sum << (16 - whole) : sum >> (whole - 16);
  return (whole << 16) + tm_front_log2((int32_t)(rest & 0xFFFFu), p->logs, 9) - p->base;
}

/* The energies of all n + 1 bins in place of the transform, each as its low and high word. */
static void tm_front_mel_energies(const tm_front_mel_params *p, int32_t *points) {
  const int32_t n = 1 << (p->order - 1);
  for (int32_t k = 0; k <= n / 2; ++k) {
    const uint64_t here = tm_front_mel_energy(p, points, k);
    const uint64_t there = tm_front_mel_energy(p, points, n - k);
    points[2 * k] = (int32_t)(uint32_t)here;
    points[2 * k + 1] = (int32_t)(uint32_t)(here >> 32);
    points[2 * (n - k)] = (int32_t)(uint32_t)there;
    points[2 * (n - k) + 1] = (int32_t)(uint32_t)(there >> 32);
  }
}

static void tm_front_mel(const tm_front_mel_params *p, const int16_t *samples, void *scratch,
                         tm_front_element *row) {
  int32_t *const points = (int32_t *)scratch;
  const int32_t n = 1 << (p->order - 1);
  int32_t *const features = points + 2 * n + 2;
  const int32_t half = 1 << p->order;
  int32_t place = 0;
  for (int32_t point = 0; point < n; ++point) {
    int32_t *at = points + 2 * place;
    place = tm_front_next_place(place, n, 1);
    for (int32_t part = 0; part < 2; ++part) {
      const int32_t i = 2 * point + part;
      at[part] = i < p->length ? ((int32_t)samples[i] * p->window[i] + half) >> (p->order + 1) : 0;
    }
  }
  tm_front_mel_transform(p, points);
  tm_front_mel_energies(p, points);
  const uint16_t *weight = p->weights;
  for (int32_t band = 0; band < p->channels; ++band) {
    uint64_t sum = (uint64_t)p->floor;
    const int32_t *bin = points + 2 * p->starts[band];
    for (int32_t i = 0; i < p->counts[band]; ++i) {
      const uint64_t energy = (uint64_t)(uint32_t)bin[1] << 32 | (uint32_t)bin[0];
      sum += energy * *weight++;
      bin += 2;
    }
    features[band] = tm_front_mel_log(p, sum);
  }
  if (p->cosines == NULL) {
    for (int32_t band = 0; band < p->channels; ++band) {
      row[band] = tm_front_stored(p->stores, features[band]);
    }
    return;
  }
  const int16_t *cosine = p->cosines;
  for (int32_t k = 0; k < p->coefficients; ++k) {
    int64_t sum = 1 << 13;
    for (int32_t band = 0; band < p->channels; ++band) {
      sum += (int64_t)features[band] * *cosine++;
    }
    row[k] = tm_front_stored(p->stores + p->each * k, (int32_t)(sum >> 14));
  }
}
