/* tiny: constants, made by tinymill. */
#ifndef TINY_WEIGHTS_H
#define TINY_WEIGHTS_H

#include <stdint.h>

extern const int8_t tiny_w0[8];
extern const int8_t tiny_w1[18];
extern const int32_t tiny_w2[1];
extern const int32_t tiny_w3[1];
extern const int8_t tiny_w4[1];
extern const int8_t tiny_w5[24];
extern const int32_t tiny_w6[2];
extern const int32_t tiny_w7[2];
extern const int8_t tiny_w8[2];
extern const int8_t tiny_w9[2];

#endif
