/* Reduction of floats: one partial sum for each run of the innermost reduced axis, so that long
 * sums lose little. No scratch. */
#include "tm_reduce.h"

static inline float tm_reduce_step_f32(int32_t function, float a, float b) {
  switch (function) {
    case TM_REDUCE_MAX:
      return b > a ? b : a;
    case TM_REDUCE_MIN:
      return b < a ? b : a;
    case TM_REDUCE_PROD:
      return a * b;
    default:
      return a + b;
  }
}

static tm_status tm_reduce_f32(const tm_reduce_f32_params *p, const float *in, float *out,
                               void *scratch) {
  const int32_t inner = p->reduced_shape[TM_REDUCE_RANK - 1];
  const int32_t step = p->reduced_strides[TM_REDUCE_RANK - 1];
  int32_t shape[TM_REDUCE_RANK];
  int32_t kept[TM_REDUCE_RANK] = {0};
  int32_t offset = 0;
  int32_t count = 1;
  (void)scratch;
  for (int32_t axis = 0; axis < TM_REDUCE_RANK; ++axis) {
    shape[axis] = axis == TM_REDUCE_RANK - 1 ? 1 : p->reduced_shape[axis];
    count *= p->reduced_shape[axis];
  }
  do {
    int32_t index[TM_REDUCE_RANK] = {0};
    int32_t place = 0;
    int32_t first = 1;
    float total = 0.0f;
    do {
      const float *x = in + offset + place;
      float part = x[0];
      for (int32_t i = 1; i < inner; ++i) {
        part = tm_reduce_step_f32(p->function, part, x[i * step]);
      }
      total = first ? part : tm_reduce_step_f32(p->function, total, part);
      first = 0;
    } while (tm_reduce_next(index, shape, p->reduced_strides, &place));
    *out++ = p->function == TM_REDUCE_MEAN ? total / (float)count : total;
  } while (tm_reduce_next(kept, p->kept_shape, p->kept_strides, &offset));
  return TM_OK;
}
