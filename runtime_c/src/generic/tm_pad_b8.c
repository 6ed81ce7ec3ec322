/* Padding of any type. No scratch. */
#include "tm_move.h"

static inline uint8_t *tm_pad_fill(const tm_pad_b8_params *p, uint8_t *y, int32_t bytes) {
  for (int32_t i = 0; i < bytes; i += p->unit) {
    for (int32_t k = 0; k < p->unit; ++k) {
      *y++ = p->fill[k];
    }
  }
  return y;
}

/* The place along an axis that `at` stands for: inside, mirrored or the edge. */
static inline int32_t tm_pad_place(const tm_pad_b8_params *p, int32_t at, int32_t last) {
  if (p->mode == 1) {
    at = at < 0 ? -at : at;
    return at > last ? 2 * last - at : at;
  }
  return at < 0 ? 0 : (at > last ? last : at);
}

static tm_status tm_pad_b8(const tm_pad_b8_params *p, const void *in, void *out, void *scratch) {
  const int32_t inner = TM_MOVE_RANK - 1;
  const int32_t run = p->source[inner] * p->element;
  int32_t index[TM_MOVE_RANK] = {0};
  uint8_t *y = (uint8_t *)out;
  (void)scratch;
  do {
    int32_t place = 0;
    int32_t inside = 1;
    const uint8_t *x;
    for (int32_t axis = 0; axis < inner; ++axis) {
      const int32_t at = index[axis] - p->before[axis];
      const int32_t found = tm_pad_place(p, at, p->source[axis] - 1);
      inside = inside && (p->mode != 0 || found == at);
      place = place * p->source[axis] + found;
    }
    x = (const uint8_t *)in + place * run;
    if (!inside) {
      y = tm_pad_fill(p, y, p->shape[inner] * p->element);
      continue;
    }
    if (p->mode == 0) {
      y = tm_pad_fill(p, y, p->before[inner] * p->element);
      memcpy(y, x, (size_t)run);
      y = tm_pad_fill(p, y + run, (p->shape[inner] - p->before[inner]) * p->element - run);
      continue;
    }
    for (int32_t i = 0; i < p->shape[inner]; ++i) {
      const int32_t found = tm_pad_place(p, i - p->before[inner], p->source[inner] - 1);
      memcpy(y, x + found * p->element, (size_t)p->element);
      y += p->element;
    }
  } while (tm_next_run(index, p->shape));
  return TM_OK;
}
