/* SVDF of int8 with history and time weights of int16_t. No scratch. */
#include "tm_rescale.h"
#include "tm_svdf.h"

TM_SVDF_S8_KERNEL(tm_svdf_s8_s16, int16_t, INT16_MIN, INT16_MAX)
