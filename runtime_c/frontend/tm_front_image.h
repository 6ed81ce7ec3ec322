/* A camera's lines as rows of the model's input: cropped, scaled, recoded.
 *
 * A pixel's value between four others: h = a (256 - f) + b f along a line, then
 * (h0 (256 - g) + h1 g + 32768) >> 16, then the table. A line is scaled along when it comes; of
 * these the last two are kept. */
#ifndef TM_FRONT_IMAGE_H
#define TM_FRONT_IMAGE_H

#include "tm_front.h"

/* TM_FRONT_FORMAT: how a pixel lies in memory */
#define TM_FRONT_GRAY 0
#define TM_FRONT_RGB565 1    /* the low byte first */
#define TM_FRONT_RGB565_BE 2 /* the high byte first */
#define TM_FRONT_RGB888 3
#define TM_FRONT_BGR888 4

typedef struct {
  int32_t width, rows;     /* of the model's input; its channels are TM_FRONT_CHANNELS, 1 or 3 */
  const uint16_t *columns; /* [width]: the pixel to the left of each of a row's */
  const uint8_t *rights;   /* [width]: 256ths of the pixel to its right */
  const uint16_t *lines;   /* [rows]: the line above each row */
  const uint8_t *belows;   /* [rows]: 256ths of the line below */
  const tm_front_element *table; /* [256], or for each channel */
  int32_t channel_step;          /* 0 or 256 */
} tm_front_image_params;

/* Whether row `row` is complete when line `line` has come. */
static inline int32_t tm_front_image_complete(const tm_front_image_params *p, int32_t row,
                                              int32_t line) {
  return row < p->rows && p->lines[row] + (p->belows[row] != 0) <= line;
}

/* Takes line `line`, of which row `row` is the next that isn't complete. `kept`: two lines of
 * width * channels. */
static void tm_front_image_line(const tm_front_image_params *p, int32_t line, int32_t row,
                                const uint8_t *pixels, uint16_t *kept);

/* Row `row` of the input, complete. */
static void tm_front_image_row(const tm_front_image_params *p, int32_t row, const uint16_t *kept,
                               tm_front_element *out);

#endif
