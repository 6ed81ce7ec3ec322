/* Log-mel spectra and, by a cosine transform of them, mel-frequency cepstral coefficients: one row
 * for a window, in integers.
 *
 * x = (sample * window + half) >> (order + 1); X2 = 2 FFT(x); power 2: e = |X2|^2 >> 12, power 1:
 * e = |X2| to 16 significant bits; feature = log2(floor + sum of e * weight) - base, with 16 bits
 * of fraction; coefficient k = (sum of feature * cosine[k] + half) >> 14. */
#ifndef TM_FRONT_MEL_H
#define TM_FRONT_MEL_H

#include "tm_front.h"

typedef struct {
  int64_t floor;
  int32_t length, order; /* samples of a window; log2 of the FFT's length, 3 to 12 */
  int32_t channels;
  int32_t coefficients; /* 0: the logarithms themselves */
  int32_t power;        /* 1 or 2 */
  int32_t base;
  int32_t each;            /* 1: a store for each value of a row, 0: one for all */
  const int16_t *window;   /* [length], 15 bits of fraction */
  const int32_t *twiddles; /* exp(-2 pi i k / fft) for k < fft / 2, 30 bits */
  const uint16_t *starts;  /* [channels], the first bin of each band */
  const uint16_t *counts;  /* [channels], its bins */
  const uint16_t *weights; /* of all bands, 14 bits */
  const uint16_t *logs;
  const int16_t *cosines; /* [coefficients][channels], 14 bits */
  const tm_front_store *stores;
} tm_front_mel_params;

/* Scratch: (fft + 2 + channels) * 4 bytes. */
static void tm_front_mel(const tm_front_mel_params *p, const int16_t *samples, void *scratch,
                         tm_front_element *row);

#endif
