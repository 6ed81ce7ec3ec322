/* Activations that compilers turn into vector code. */
#ifndef TM_EDIT_MATH_H
#define TM_EDIT_MATH_H

#include "tm_edit.h"

#include <math.h>
#include <string.h>

/* e^x within 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes).
 */
static inline float tm_edit_exp(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  float whole = floorf(x * 1.44269504088896341f + 0.5f);
  float r = x - whole * 0.693359375f;
  r = r + whole * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t bits = ((int32_t)whole + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof power);
  return p * power;
}

static inline float tm_edit_sigmoid(float x) {
  return 1.0f / (1.0f + tm_edit_exp(-x));
}

/* tanh x = x (1 + small polynomial) near 0, where 1 - 2 / (e^2x + 1) would cancel. */
static inline float tm_edit_tanh(float x) {
  float size = fabsf(x);
  float far = 1.0f - 2.0f / (tm_edit_exp(2.0f * size) + 1.0f);
  float z = x * x;
  float near = -5.70498872745e-3f;
  near = near * z + 2.06390887954e-2f;
  near = near * z - 5.37397155531e-2f;
  near = near * z + 1.33314422036e-1f;
  near = near * z - 3.33332819422e-1f;
  near = near * z * size + size;
  float y = size < 0.625f ? near : far;
  return x < 0.0f ? -y : y;
}

/* In place on `count` floats. */
static inline void tm_edit_activate(tm_edit_activation activation, float leak, float *v,
                                    int32_t count) {
  int32_t i;
  switch (activation) {
    case TM_EDIT_RELU:
      for (i = 0; i < count; ++i) {
        v[i] = v[i] < 0.0f ? 0.0f : v[i];
      }
      break;
    case TM_EDIT_LEAKY:
      for (i = 0; i < count; ++i) {
        v[i] = v[i] < 0.0f ? leak * v[i] : v[i];
      }
      break;
    case TM_EDIT_SILU:
      for (i = 0; i < count; ++i) {
        v[i] = v[i] * tm_edit_sigmoid(v[i]);
      }
      break;
    case TM_EDIT_TANH:
      for (i = 0; i < count; ++i) {
        v[i] = tm_edit_tanh(v[i]);
      }
      break;
    case TM_EDIT_SIGMOID:
      for (i = 0; i < count; ++i) {
        v[i] = tm_edit_sigmoid(v[i]);
      }
      break;
    case TM_EDIT_NONE:
      break;
  }
}

#endif
