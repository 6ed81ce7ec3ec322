/* What front ends share: how features become elements of the model's input, and integer
 * arithmetic. All state is the caller's; tables are the parameters'.
 *
 * TM_FRONT_FLOAT is defined where the input is float, TM_FRONT_WORDS where its elements have
 * 16 bits; else they have 8. */
#ifndef TM_FRONT_H
#define TM_FRONT_H

#include <stdint.h>

#include "tm_status.h"

/* clamp((v * multiplier + bias) >> shift, low, high); float: (float)v * factor + offset. The bias
 * holds half a step and the zero point. */
typedef struct {
  int64_t bias;
  int32_t multiplier, shift, low, high;
  float factor, offset;
} tm_front_store;

#if defined(TM_FRONT_FLOAT)
typedef float tm_front_element;

static inline tm_front_element tm_front_stored(const tm_front_store *store, int32_t v) {
  const float scaled = (float)v * store->factor;
  return scaled + store->offset;
}
#else
#if defined(TM_FRONT_WORDS)
typedef int16_t tm_front_element;
#elif defined(TM_FRONT_UNSIGNED)
typedef uint8_t tm_front_element;
#else
typedef int8_t tm_front_element;
#endif

static inline tm_front_element tm_front_stored(const tm_front_store *store, int32_t v) {
  const int64_t q = ((int64_t)v * store->multiplier + store->bias) >> store->shift;
  if (q < store->low) {
    return (tm_front_element)store->low;
  }
  return (tm_front_element)(q > store->high ? store->high : q);
}
#endif

/* The number of bits of x, 0 for 0. */
static inline int32_t tm_front_bits(uint32_t x) {
#if defined(__GNUC__)
  return x == 0 ? 0 : 32 - __builtin_clz(x);
#else
  int32_t bits = 0;
  for (int32_t step = 16; step > 0; step >>= 1) {
    if ((x >> step) != 0) {
      bits += step;
      x >>= step;
    }
  }
  return bits + (int32_t)x;
#endif
}

static inline int32_t tm_front_bits64(uint64_t x) {
  const uint32_t high = (uint32_t)(x >> 32);
  return high != 0 ? 32 + tm_front_bits(high) : tm_front_bits((uint32_t)x);
}

/* The square root, rounded down; *rest is what its square leaves. */
static inline uint32_t tm_front_root(uint32_t x, uint32_t *rest) {
  uint32_t root = 0;
  const int32_t bits = tm_front_bits(x);
  uint32_t bit = bits == 0 ? 0 : (uint32_t)1 << ((bits - 1) & ~1);
  for (; bit != 0; bit >>= 2) {
    if (x >= root + bit) {
      x -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  *rest = x;
  return root;
}

/* Where the next of n points stands when their numbers' digits are reversed: of base 1 << shift,
 * the last one of base 2 where n is no power of that. */
static inline int32_t tm_front_next_place(int32_t place, int32_t n, int32_t shift) {
  while (n > 1) {
    const int32_t bits = (n & ((1 << shift) - 1)) == 0 ? shift : 1;
    const int32_t weight = n >> bits;
    if (place < n - weight) {
      return place + weight;
    }
    place -= n - weight;
    n = weight;
  }
  return 0;
}

/* log2(1 + rest / 65536), 16 bits of fraction. `logs` holds log2(1 + f) - f for f in steps of
 * 1 / 128, one more 0 behind the end. With `shift` 9 it is a straight line between two steps; 16 is
 * what the micro frontend takes. */
static inline int32_t tm_front_log2(int32_t rest, const uint16_t *logs, int32_t shift) {
  const int32_t segment = rest >> 9;
  const int32_t c0 = logs[segment];
  const int32_t c1 = logs[segment + 1];
  return rest + c0 + (((c1 - c0) * (rest & 511)) >> shift);
}

#endif
