/* Integers and booleans to one another. No scratch. */
#include "tm_cast.h"

static int64_t tm_cast_read(const uint8_t *in, int32_t size, int32_t is_signed) {
  int16_t half;
  int32_t word;
  int64_t whole;
  switch (size) {
    case 1:
      return is_signed ? (int64_t)(int8_t)*in : (int64_t)*in;
    case 2:
      memcpy(&half, in, sizeof half);
      return half;
    case 4:
      memcpy(&word, in, sizeof word);
      return word;
    default:
      memcpy(&whole, in, sizeof whole);
      return whole;
  }
}

static void tm_cast_write(uint8_t *out, int32_t size, int64_t x) {
  const uint16_t half = (uint16_t)x;
  const uint32_t word = (uint32_t)x;
  switch (size) {
    case 1:
      *out = (uint8_t)x;
      break;
    case 2:
      memcpy(out, &half, sizeof half);
      break;
    case 4:
      memcpy(out, &word, sizeof word);
      break;
    default:
      memcpy(out, &x, sizeof x);
      break;
  }
}

static tm_status tm_cast_b8(const tm_cast_b8_params *p, const void *in, void *out, void *scratch) {
  const uint8_t *from = (const uint8_t *)in;
  uint8_t *to = (uint8_t *)out;
  (void)scratch;
  for (int32_t i = 0; i < p->count; ++i) {
    const int64_t x = tm_cast_read(from + i * p->from, p->from, p->is_signed);
    tm_cast_write(to + i * p->to, p->to, p->to_bool ? (x != 0 ? 1 : 0) : x);
  }
  return TM_OK;
}
