/* Losses of the last values of a model, y int8, real = scale * (q - zero point): the loss as a
 * float32, its gradient by each q as a mantissa of 16 bits times 2^exponent, the exponent of all
 * gradients of the step. Mantissas come from integers; the largest is in [2^13, 2^14]. The float is
 * made of single operations in a fixed order: the same bits on every target.
 *
 * operands: const int8_t *y, the target (const int32_t *label in [0, count), or for squared_loss
 * const int8_t *target), float *loss, int16_t *g, int32_t *exponent */
#ifndef TM_LOSS_H
#define TM_LOSS_H

#include <stdint.h>

#include "tm_status.h"

/* Cross entropy of the softmax: t_i = table[max - q_i], S their sum;
 * loss = scale * (max - q_label) + (ln S - 24 ln 2), g ~ (t_i - S * [i = label]) * scale / S. */
typedef struct {
  int32_t count; /* values */
  float scale;   /* of y: significand * 2^exponent, the significand in [2^30, 2^31) */
  int32_t significand, exponent;
  const int32_t *table; /* rint(exp(-scale * k) * 2^24) for k to 255 */
} tm_softmax_loss_s8_params;

/* The mean of squares: loss = sum of (q_i - target_i)^2 * factor, g ~ (q_i - target_i) *
 * significand * 2^exponent. */
typedef struct {
  int32_t count;
  float factor;
  int32_t significand, exponent; /* the significand has 15 bits */
} tm_squared_loss_s8_params;

/* The mean of max(0, margin - scale * (q_label - q_j)) over j other than the label: of the n with
 * q_label - q_j < bound and the sum D of these, (n * margin - D * scale) * part; g ~ significand *
 * 2^exponent for these, -n times that for the label. */
typedef struct {
  int32_t count, bound;
  float margin, scale, part;
  int32_t significand, exponent; /* the significand has 15 bits */
} tm_margin_loss_s8_params;

/* Bits of a number, 0 of 0. */
static inline int32_t tm_loss_bits(uint64_t x) {
  int32_t bits = 0;
  for (; x != 0; x >>= 1) {
    ++bits;
  }
  return bits;
}

/* v * 2^-places, rounded half up. */
static inline int64_t tm_loss_shifted(int64_t v, int32_t places) {
  return places > 0 ? (v + ((int64_t)1 << (places - 1))) >> places : v * ((int64_t)1 << -places);
}

/* How residues become mantissas: the places that they and then their products with `factor` lose.
 */
typedef struct {
  int32_t first, second;
  int64_t factor;
} tm_loss_norm;

static inline int64_t tm_loss_product(const tm_loss_norm *norm, int64_t residue) {
  return tm_loss_shifted(residue, norm->first) * norm->factor;
}

static inline int16_t tm_loss_mantissa(const tm_loss_norm *norm, int64_t residue) {
  return (int16_t)tm_loss_shifted(tm_loss_product(norm, residue), norm->second);
}

/* For residues within [least, most], both of which there are, not both 0; factor in [1, 2^15]. */
static inline tm_loss_norm tm_loss_norm_of(int64_t least, int64_t most, int64_t factor) {
  tm_loss_norm norm = {0, 0, factor};
  norm.first = tm_loss_bits((uint64_t)(most > -least ? most : -least)) - 15;
  least = tm_loss_product(&norm, least);
  most = tm_loss_product(&norm, most);
  norm.second = tm_loss_bits((uint64_t)(most > -least ? most : -least)) - 14;
  return norm;
}

/* Natural logarithm of a whole number x >= 1: with x = m * 2^k, m in [1, 2) cut to 24 bits,
 * k ln 2 + 2 (y + y^3 / 3 + ... + y^11 / 11), y = (m - 1) / (m + 1). */
static inline float tm_loss_log(uint64_t x) {
  const int32_t bits = tm_loss_bits(x);
  const uint64_t top = bits > 24 ? x >> (bits - 24) : x << (24 - bits);
  const float m = (float)(int32_t)top * 1.1920929e-07f;
  const float y = (m - 1.0f) / (m + 1.0f);
  const float square = y * y;
  float series = 0.0909090936f;
  series = series * square;
  series = series + 0.111111112f;
  series = series * square;
  series = series + 0.142857149f;
  series = series * square;
  series = series + 0.200000003f;
  series = series * square;
  series = series + 0.333333343f;
  series = series * square;
  series = series + 1.0f;
  series = y * series;
  series = 2.0f * series;
  return (float)(bits - 1) * 0.693147182f + series;
}

#endif
