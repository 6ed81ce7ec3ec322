#include "tm_edit_product.h"

void tm_edit_pack(const float *outputs_taps_inputs, int32_t outputs, int32_t taps, int32_t inputs,
                  float *packed) {
  for (int32_t block = 0; block < outputs; block += TM_COLUMNS) {
    for (int32_t slice = 0; slice < inputs; slice += TM_SLICE) {
      const int32_t end = tm_least(slice + TM_SLICE, inputs);
      for (int32_t tap = 0; tap < taps; ++tap) {
        for (int32_t input = slice; input < end; ++input) {
          for (int32_t output = block; output < block + TM_COLUMNS; ++output) {
            *packed++ = output < outputs
                            ? outputs_taps_inputs[((int64_t)output * taps + tap) * inputs + input]
                            : 0.0f;
          }
        }
      }
    }
  }
}

/* One register block: TM_COLUMNS sums, of which `count` are wanted, of `height` pixels. */
TM_INLINE void sum_pixels(const int32_t height, const tm_edit_product *p,
                          const tm_edit_pixel *pixels, int32_t in_first, const float *weights,
                          float *out) {
  const float *rows[TM_ROWS];
  tm_vec sums[TM_ROWS][TM_VECTORS];
  TM_UNROLL
  for (int32_t r = 0; r < height; ++r) {
    rows[r] = pixels[r].in + in_first;
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      sums[r][v] = tm_set(0.0f);
    }
  }
  for (int32_t slice = 0; slice < p->inputs; slice += TM_SLICE) {
    const int32_t channels = tm_least(TM_SLICE, p->inputs - slice);
    for (int32_t tap = 0; tap < p->taps; ++tap) {
      tm_products(height, rows, p->offsets[tap] + slice, weights, TM_COLUMNS, channels, sums);
      weights += (int64_t)channels * TM_COLUMNS;
    }
  }
  TM_UNROLL
  for (int32_t r = 0; r < height; ++r) {
    TM_UNROLL
    for (int32_t v = 0; v < TM_VECTORS; ++v) {
      tm_store(out + r * TM_COLUMNS + v * TM_LANES, sums[r][v]);
    }
  }
}

TM_INLINE void write_pixels(const tm_edit_activation activation, float leak,
                            const tm_edit_pixel *pixels, int32_t height, int32_t first,
                            int32_t count, const float *sums) {
  for (int32_t r = 0; r < height; ++r) {
    for (int32_t v = 0; v < count; v += TM_LANES) {
      const int32_t some = tm_least(TM_LANES, count - v);
      tm_vec value = tm_load(sums + r * TM_COLUMNS + v);
      if (pixels[r].bias) {
        value = tm_add(value, tm_load_up_to(pixels[r].bias + first + v, some));
      }
      if (pixels[r].residual) {
        value = tm_add(value, tm_load_up_to(pixels[r].residual + first + v, some));
      }
      tm_store_up_to(pixels[r].out + first + v, some, tm_activate(activation, leak, value));
    }
  }
}

void tm_edit_multiply(const tm_edit_product *p, const tm_edit_pixel *pixels, int32_t count,
                      int32_t block) {
  const int32_t group_blocks = tm_parts(p->outputs, TM_COLUMNS), group = block / group_blocks;
  const int32_t first = block % group_blocks * TM_COLUMNS, outputs = p->outputs - first;
  const int32_t out_first = group * p->outputs + first;
  const int32_t in_first = group * p->inputs, columns = tm_least(TM_COLUMNS, outputs);
  const float *weights = p->weights + (int64_t)block * p->taps * p->inputs * TM_COLUMNS;
  float sums[TM_ROWS * TM_COLUMNS];
  for (int32_t done = 0; done < count;) {
    const int32_t height = tm_next_height(count - done);
    TM_BY_HEIGHT(height, sum_pixels(tall, p, pixels + done, in_first, weights, sums))
    TM_BY_ACTIVATION(p->activation,
                     write_pixels(chosen, p->leak, pixels + done, height, out_first, columns, sums))
    done += height;
  }
}
