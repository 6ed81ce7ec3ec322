/* Plain update of a convolution's weights, any shape: sums one weight after the other. No scratch.
 */
#include "tm_conv_weight_update.h"

/* The places along an axis, [first, last), whose tap `reach` = tap * dilation - pad lies inside a
 * map of `size` places. */
typedef struct {
  int32_t first, last;
} tm_update_places;

static inline tm_update_places tm_update_inside(int32_t reach, int32_t stride, int32_t size,
                                                int32_t outputs) {
  tm_update_places found;
  found.first = reach < 0 ? (stride - 1 - reach) / stride : 0;
  found.last = size - 1 - reach < 0 ? 0 : (size - 1 - reach) / stride + 1;
  found.last = found.last > outputs ? outputs : found.last;
  return found;
}

/* The sum of h * (x - zero) for a tap of a pair of channels; x and h point to those of an image. */
static int32_t tm_update_sum(const tm_conv_weight_update_s8_params *p, const int8_t *x,
                             const int16_t *h, int32_t ky, int32_t kx) {
  const int32_t dy = ky * p->dilation_h - p->pad_top;
  const int32_t dx = kx * p->dilation_w - p->pad_left;
  const tm_update_places rows = tm_update_inside(dy, p->stride_h, p->in_h, p->out_h);
  const tm_update_places columns = tm_update_inside(dx, p->stride_w, p->in_w, p->out_w);
  int32_t sum = 0;
  for (int32_t oy = rows.first; oy < rows.last; ++oy) {
    const int32_t row = (oy * p->stride_h + dy) * p->in_w + dx;
    const int16_t *by = h + oy * p->out_w * p->out_c;
    for (int32_t ox = columns.first; ox < columns.last; ++ox) {
      sum += by[ox * p->out_c] * (x[(row + ox * p->stride_w) * p->in_c] - p->in_zero);
    }
  }
  return sum;
}

static tm_status tm_conv_weight_update_s8(const tm_conv_weight_update_s8_params *p, const int8_t *x,
                                          const int16_t *h, const int32_t *exponent,
                                          const float *rate, const int32_t *counter,
                                          const float *coefficient, int8_t *weights, int32_t *bias,
                                          void *scratch) {
  const uint32_t seed = tm_update_seed((uint32_t)*counter, (uint32_t)p->layer);
  const int32_t taps = p->kernel_h * p->kernel_w;
  (void)scratch;
  for (int32_t o = 0; o < p->out_c; ++o) {
    const float factor = tm_update_factor(*rate, coefficient[o], *exponent);
    const int32_t group = o / p->group_out * p->group_in;
    int32_t moved = 0;
    for (int32_t k = 0; k < taps; ++k) {
      for (int32_t n = 0; n < p->chosen_count; ++n) {
        const int32_t i = p->chosen == NULL ? p->channel0 + n : p->chosen[n];
        const int32_t place = (o * taps + k) * p->group_in + i;
        const int32_t w = weights[place];
        int32_t sum = 0;
        int32_t fresh;
        for (int32_t image = 0; image < p->batch; ++image) {
          sum += tm_update_sum(p, x + image * p->in_h * p->in_w * p->in_c + group + i,
                               h + image * p->out_h * p->out_w * p->out_c + o, k / p->kernel_w,
                               k % p->kernel_w);
        }
        fresh = tm_update_weight(w, sum, factor, p->stochastic, seed, (uint32_t)place);
        weights[place] = (int8_t)fresh;
        moved += fresh - w;
      }
    }
    bias[o] = tm_update_less(bias[o], (int64_t)p->in_zero * moved);
  }
  return TM_OK;
}
