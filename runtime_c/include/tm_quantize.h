/* Between floats and integers, and among integers, from the first element to the last. Where one
 * side is bytes, the output may overlay the input as long as no unread element is written: it
 * starts at or below the input, or ends with it where elements grow. */
#ifndef TM_QUANTIZE_H
#define TM_QUANTIZE_H

#include <stdint.h>

#include "tm_status.h"

/* y = clamp(round(x / scale) + zero), half to even or away from zero */
typedef struct {
  int32_t count;
  float scale;
  int32_t zero, lo, hi;
  int32_t away;
} tm_quantize_params;

/* y = (x - zero) * scale */
typedef struct {
  int32_t count;
  float scale;
  int32_t zero;
} tm_dequantize_params;

/* y = clamp(fixed(x - in_zero) + out_zero) */
typedef struct {
  int32_t count;
  int32_t in_zero, out_zero, multiplier, shift, lo, hi;
} tm_requantize_params;

/* the top bit of each byte flipped */
typedef struct {
  int32_t count;
} tm_recode_b8_params;

typedef tm_quantize_params tm_quantize_s8_params;
typedef tm_quantize_params tm_quantize_u8_params;
typedef tm_quantize_params tm_quantize_s16_params;
typedef tm_dequantize_params tm_dequantize_s8_params;
typedef tm_dequantize_params tm_dequantize_u8_params;
typedef tm_dequantize_params tm_dequantize_s16_params;
typedef tm_dequantize_params tm_dequantize_s32_params;
typedef tm_requantize_params tm_requantize_s8_s8_params;
typedef tm_requantize_params tm_requantize_s16_s8_params;
typedef tm_requantize_params tm_requantize_s8_s16_params;
typedef tm_requantize_params tm_requantize_s16_s32_params;
typedef tm_requantize_params tm_requantize_s8_s32_params;
typedef tm_requantize_params tm_requantize_s16_s16_params;

#endif
