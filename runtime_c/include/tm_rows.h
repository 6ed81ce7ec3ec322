/* Views of maps as rows, and the part of an output that a call computes.
 *
 * A row is all columns and channels of one line of an NHWC map. Rows are the unit of planning:
 * a map may be whole (ring == rows) or keep only its last `ring` rows; rows outside the map
 * are one constant row, `pad`.
 */
#ifndef TM_ROWS_H
#define TM_ROWS_H

#include <stdint.h>

typedef struct {
  uint8_t *base;     /* row 0 */
  const void *pad;   /* stands for every row outside the map; NULL where none is read */
  int32_t row_bytes; /* distance between rows */
  int32_t rows;      /* height of the map */
  int32_t ring;      /* rows kept in memory: row y lies at base + (y % ring) * row_bytes */
} tm_rows;

/* Output rows [row0, row1) and output channels [channel0, channel1). Rows are computed in
 * increasing order, each complete before the next begins; row y may be written over input
 * rows that no output row >= y reads. */
typedef struct {
  int32_t row0;
  int32_t row1;
  int32_t channel0;
  int32_t channel1;
} tm_part;

/* Row y of a map to read from, or its pad row. */
static inline const void *tm_row(const tm_rows *map, int32_t y) {
  if (y < 0 || y >= map->rows) {
    return map->pad;
  }
  if (map->ring != map->rows) {
    y %= map->ring;
  }
  return map->base + y * map->row_bytes;
}

/* Row y of a map to write to; y lies inside the map. */
static inline void *tm_row_out(const tm_rows *map, int32_t y) {
  if (map->ring != map->rows) {
    y %= map->ring;
  }
  return map->base + y * map->row_bytes;
}

#endif
