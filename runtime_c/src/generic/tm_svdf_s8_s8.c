/* SVDF of int8 with history and time weights of int8_t. No scratch. */
#include "tm_rescale.h"
#include "tm_svdf.h"

TM_SVDF_S8_KERNEL(tm_svdf_s8_s8, int8_t, INT8_MIN, INT8_MAX)
