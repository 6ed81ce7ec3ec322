/* The micro frontend of TensorFlow Lite Micro's speech models: one row of features for a window.
 *
 * window, 16-bit FFT, energies of triangular bands, their square roots, noise reduction, gain
 * control (PCAN), logarithm; as TensorFlow's lite/experimental/microfrontend defines each. */
#ifndef TM_FRONT_MICRO_H
#define TM_FRONT_MICRO_H

#include "tm_front.h"

typedef struct {
  int32_t length, fft; /* samples of a window; a power of two, 64 or more */
  int32_t channels;
  int32_t first;      /* the bin at which the first band begins */
  int32_t correction; /* bits by which energies are below those of the tables */
  int32_t smoothing_bits;
  int32_t even, odd, least; /* noise reduction, 14 bits of fraction */
  int32_t log_shift;        /* -1: no logarithm */
  int32_t snr_shift;
  const int16_t *coefficients; /* [length], 12 bits of fraction */
  const int16_t *twiddles;     /* exp(-2 pi i k / n) for k < n = fft / 2, 15 bits */
  const int16_t *split;        /* -i exp(-2 pi i k / fft) for k = 1 to fft / 4 */
  const uint16_t *widths;      /* [channels + 1], bins of each band */
  const uint16_t *weights;     /* of each bin for its band's channel, 12 bits */
  const uint16_t *others;      /* and for the channel before */
  const int16_t *gains;        /* NULL: no gain control */
  const uint16_t *logs;
  const tm_front_store *stores;
} tm_front_micro_params;

/* `noise` is the state of [channels], 0 at first; scratch: (fft / 2 + 1) * 4 bytes. */
static void tm_front_micro(const tm_front_micro_params *p, const int16_t *samples, uint32_t *noise,
                           void *scratch, tm_front_element *row);

#endif
