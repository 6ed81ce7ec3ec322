/* Images of the trained part of a model, in memory and in flash.
 *
 * An image is little-endian:
 *
 *   0  magic     0x4E52544D ("MTRN")
 *   4  version   of this format, 1
 *   8  model     a digest of the model: an image of another one is refused
 *  12  sequence  of images in flash the one with the later number is the newer
 *  16  length    bytes of the trained part
 *  20  crc       crc32 (zlib's) of what is before it and of the trained part
 *  24  the variables that a step of training changes, one behind the other
 *
 * In flash there are two slots. A save erases and writes the one that does not hold the newest
 * image, and only what has been read back right counts: where the power fails on the way, the
 * other slot still has the last image.
 */
#ifndef TM_STORE_H
#define TM_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "tm_status.h"

#define TM_STORE_HEADER 24 /* bytes of an image before the trained part */
#define TM_STORE_BLOCK 64  /* the most bytes that a write may have to have */

/* Two slots of flash, each as large as an image whose length is rounded up to whole writes. The
 * functions give 0, or anything else where they fail. */
typedef struct {
  void *user; /* handed to the functions */
  int (*erase)(void *user, int slot);
  int (*write)(void *user, int slot, size_t offset, const void *from, size_t bytes);
  int (*read)(void *user, int slot, size_t offset, void *to, size_t bytes);
  size_t block; /* each write has so many bytes, at a multiple of them: a power of two from 1 to
                   TM_STORE_BLOCK. What is beyond the image is 0xFF. */
} tm_store;

/* A variable of the trained part: where it lies in the context's state. */
typedef struct {
  uint32_t offset, bytes;
} tm_store_piece;

/* What the images of a model hold. */
typedef struct {
  const tm_store_piece *pieces;
  uint32_t count;
  uint32_t length; /* bytes of all pieces */
  uint32_t model;  /* the digest */
} tm_store_contents;

#endif
