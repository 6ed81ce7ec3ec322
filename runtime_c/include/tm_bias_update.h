/* One step of a bias. For each channel o:
 *
 *   db = sum of h[p][o] over all pixels p; it fits 32 bits
 *   d  = db * f[o],  f[o] = tm_update_factor             (each in float32)
 *   b' = b - (the integer nearest to d, half to even; if stochastic that next to or below d + u, u
 *        in [0, 1) of tm_update.h, its index o), within int32. d is clipped to +-2^30 first; b' = b
 *        if it is no number
 *
 * operands: const int16_t *h, const int32_t *exponent, const float *rate, const int32_t *counter
 * (its bits are a uint32_t), const float *coefficient (one a channel), int32_t *bias */
#ifndef TM_BIAS_UPDATE_H
#define TM_BIAS_UPDATE_H

#include "tm_status.h"
#include "tm_update.h"

typedef struct {
  int32_t pixels;   /* of all images */
  int32_t channels; /* of a pixel */
  int32_t layer;    /* of the random numbers; any bits */
  int32_t stochastic;
} tm_bias_update_s32_params;

#endif
