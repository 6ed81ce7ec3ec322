/* tiny: constants, made by tinymill. */
#ifndef TINY_WEIGHTS_H
#define TINY_WEIGHTS_H

#include <stdint.h>

extern const int8_t tiny_w0[8];
extern const int32_t tiny_w1[52];
extern const int32_t tiny_w2[44];
extern const int8_t tiny_w3[2];

#endif
