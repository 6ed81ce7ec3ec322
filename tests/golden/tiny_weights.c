/* tiny: constants, made by tinymill. */
#include "tiny_weights.h"

#include <math.h>

_Alignas(4) const int8_t tiny_w0[8] = {
    3, 3, 3, 3, 3, 3, 3, 3,
};
_Alignas(4) const int8_t tiny_w1[18] = {
    -9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2,
    3, 4, 5, 6, 7, 8,
};
_Alignas(4) const int32_t tiny_w2[1] = {
    34,
};
_Alignas(4) const int32_t tiny_w3[1] = {
    1717986918,
};
_Alignas(4) const int8_t tiny_w4[1] = {
    -2,
};
_Alignas(4) const int8_t tiny_w5[24] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
};
_Alignas(4) const int32_t tiny_w6[2] = {
    528, 1680,
};
_Alignas(4) const int32_t tiny_w7[2] = {
    1374389535, 1374389535,
};
_Alignas(4) const int8_t tiny_w8[2] = {
    -6, -6,
};
_Alignas(4) const int8_t tiny_w9[2] = {
    1, -1,
};
