/* Sums of four neighbouring channels with the instructions of the DSP extension. */
#ifndef TM_WORDS_H
#define TM_WORDS_H

#include "tm_dsp.h"

#define TM_WORDS_MOST 256 /* bytes that a half holds the sum of */

/* Sums of 16 bits: those of channels 0 and 2, those of 1 and 3. */
typedef struct {
  uint32_t even, odd;
} tm_words;

/* sums + `count` times four bytes at distance `step` */
static inline tm_words tm_words_sum(tm_words sums, const int8_t *x, int32_t step, int32_t count) {
  for (; count > 0; --count) {
    const uint32_t word = tm_load4(x);
    sums.even = tm_sxtab16(sums.even, word);
    sums.odd = tm_sxtab16_ror8(sums.odd, word);
    x += step;
  }
  return sums;
}

#endif
