#include "tm_front_image.h"

/* Pixel x of a line as TM_FRONT_CHANNELS values. */
static inline void tm_front_image_pixel(const uint8_t *line, int32_t x, uint32_t *values) {
#if TM_FRONT_FORMAT == TM_FRONT_GRAY
  for (int32_t c = 0; c < TM_FRONT_CHANNELS; ++c) {
    values[c] = line[x];
  }
#else
#if TM_FRONT_FORMAT == TM_FRONT_RGB565 || TM_FRONT_FORMAT == TM_FRONT_RGB565_BE
  const uint32_t low = line[2 * x + (TM_FRONT_FORMAT == TM_FRONT_RGB565_BE)];
  const uint32_t high = line[2 * x + (TM_FRONT_FORMAT == TM_FRONT_RGB565)];
  const uint32_t word = high << 8 | low;
  const uint32_t red5 = word >> 11;
  const uint32_t green6 = (word >> 5) & 63u;
  const uint32_t blue5 = word & 31u;
  const uint32_t red = red5 << 3 | red5 >> 2;
  const uint32_t green = green6 << 2 | green6 >> 4;
  const uint32_t blue = blue5 << 3 | blue5 >> 2;
#elif TM_FRONT_FORMAT == TM_FRONT_RGB888
  const uint32_t red = line[3 * x];
  const uint32_t green = line[3 * x + 1];
  const uint32_t blue = line[3 * x + 2];
#else
  const uint32_t red = line[3 * x + 2];
  const uint32_t green = line[3 * x + 1];
  const uint32_t blue = line[3 * x];
#endif
#if TM_FRONT_CHANNELS == 1
  /* luma of ITU-R BT.601 */
  values[0] = (red * 19595u + green * 38470u + blue * 7471u + 32768u) >> 16;
#else
  values[0] = red;
  values[1] = green;
  values[2] = blue;
#endif
#endif
}

static void tm_front_image_line(const tm_front_image_params *p, int32_t line, int32_t row,
                                const uint8_t *pixels, uint16_t *kept) {
  if (row == p->rows || line < p->lines[row] || line > p->lines[row] + 1) {
    return;
  }
  uint16_t *out = kept + (line & 1) * p->width * TM_FRONT_CHANNELS;
  for (int32_t x = 0; x < p->width; ++x) {
    const uint32_t part = p->rights[x];
    uint32_t left[TM_FRONT_CHANNELS];
    uint32_t right[TM_FRONT_CHANNELS];
    tm_front_image_pixel(pixels, p->columns[x], left);
    tm_front_image_pixel(pixels, p->columns[x] + (part != 0), right);
    for (int32_t c = 0; c < TM_FRONT_CHANNELS; ++c) {
      *out++ = (uint16_t)(left[c] * (256u - part) + right[c] * part);
    }
  }
}

static void tm_front_image_row(const tm_front_image_params *p, int32_t row, const uint16_t *kept,
                               tm_front_element *out) {
  const int32_t length = p->width * TM_FRONT_CHANNELS;
  const uint16_t *above = kept + (p->lines[row] & 1) * length;
  const uint16_t *below = kept + (~p->lines[row] & 1) * length;
  const uint32_t part = p->belows[row];
  for (int32_t x = 0; x < p->width; ++x) {
    for (int32_t c = 0; c < TM_FRONT_CHANNELS; ++c) {
      const int32_t i = x * TM_FRONT_CHANNELS + c;
      uint32_t value = above[i] * (256u - part) + 32768u;
      if (part != 0) {
        value += below[i] * part;
      }
      out[i] = p->table[c * p->channel_step + (int32_t)(value >> 16)];
    }
  }
}
