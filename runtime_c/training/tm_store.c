/* Saves and loads the trained part of a model: tm_store.h. Nothing is held twice; flash is written
 * and read in blocks of TM_STORE_BLOCK bytes at most. */
#include "tm_store.h"

#include <string.h>

#define TM_STORE_MAGIC 0x4E52544Du
#define TM_STORE_VERSION 1u

/* The crc32 of zlib; `crc` is that of what comes before, 0 at the beginning. */
static uint32_t tm_store_crc32(uint32_t crc, const uint8_t *from, size_t bytes) {
  static const uint32_t table[16] = {
      0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
      0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
      0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
  };
  crc = ~crc;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= from[i];
    crc = table[crc & 15u] ^ (crc >> 4);
    crc = table[crc & 15u] ^ (crc >> 4);
  }
  return ~crc;
}

static void tm_store_put(uint8_t *to, uint32_t word) {
  for (int i = 0; i < 4; ++i) {
    to[i] = (uint8_t)(word >> (8 * i));
  }
}

static uint32_t tm_store_get(const uint8_t *from) {
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
         (uint32_t)from[3] << 24;
}

/* The crc32 of the trained part, continued from `crc`. */
static uint32_t tm_store_state_crc32(const tm_store_contents *of, const uint8_t *state,
                                     uint32_t crc) {
  for (uint32_t i = 0; i < of->count; ++i) {
    crc = tm_store_crc32(crc, state + of->pieces[i].offset, of->pieces[i].bytes);
  }
  return crc;
}

static void tm_store_head(const tm_store_contents *of, const uint8_t *state, uint32_t sequence,
                          uint8_t head[TM_STORE_HEADER]) {
  tm_store_put(head, TM_STORE_MAGIC);
  tm_store_put(head + 4, TM_STORE_VERSION);
  tm_store_put(head + 8, of->model);
  tm_store_put(head + 12, sequence);
  tm_store_put(head + 16, of->length);
  const uint32_t crc = tm_store_crc32(0, head, TM_STORE_HEADER - 4);
  tm_store_put(head + 20, tm_store_state_crc32(of, state, crc));
}

/* Whether a head is that of an image of this model. */
static int tm_store_fits(const tm_store_contents *of, const uint8_t *head) {
  return tm_store_get(head) == TM_STORE_MAGIC && tm_store_get(head + 4) == TM_STORE_VERSION &&
         tm_store_get(head + 8) == of->model && tm_store_get(head + 16) == of->length;
}

static tm_status tm_store_save(const tm_store_contents *of, const uint8_t *state, uint8_t *image,
                               size_t bytes) {
  if (image == NULL || bytes < TM_STORE_HEADER + (size_t)of->length) {
    return TM_BAD_ARGUMENT;
  }
  tm_store_head(of, state, 0, image);
  image += TM_STORE_HEADER;
  for (uint32_t i = 0; i < of->count; ++i) {
    memcpy(image, state + of->pieces[i].offset, of->pieces[i].bytes);
    image += of->pieces[i].bytes;
  }
  return TM_OK;
}

static tm_status tm_store_load(const tm_store_contents *of, uint8_t *state, const uint8_t *image,
                               size_t bytes) {
  if (image == NULL || bytes < TM_STORE_HEADER + (size_t)of->length || !tm_store_fits(of, image)) {
    return TM_BAD_IMAGE;
  }
  uint32_t crc = tm_store_crc32(0, image, TM_STORE_HEADER - 4);
  crc = tm_store_crc32(crc, image + TM_STORE_HEADER, of->length);
  if (crc != tm_store_get(image + 20)) {
    return TM_BAD_IMAGE;
  }
  image += TM_STORE_HEADER;
  for (uint32_t i = 0; i < of->count; ++i) {
    memcpy(state + of->pieces[i].offset, image, of->pieces[i].bytes);
    image += of->pieces[i].bytes;
  }
  return TM_OK;
}

/* Whether a slot holds an image of this model, and its number. */
static int tm_store_valid(const tm_store_contents *of, const tm_store *store, int slot,
                          uint32_t *sequence) {
  uint8_t block[TM_STORE_BLOCK];
  if (store->read(store->user, slot, 0, block, TM_STORE_HEADER) != 0 || !tm_store_fits(of, block)) {
    return 0;
  }
  *sequence = tm_store_get(block + 12);
  const uint32_t wanted = tm_store_get(block + 20);
  uint32_t crc = tm_store_crc32(0, block, TM_STORE_HEADER - 4);
  for (uint32_t done = 0; done < of->length;) {
    const uint32_t left = of->length - done;
    const uint32_t count = left < TM_STORE_BLOCK ? left : TM_STORE_BLOCK;
    if (store->read(store->user, slot, TM_STORE_HEADER + (size_t)done, block, count) != 0) {
      return 0;
    }
    crc = tm_store_crc32(crc, block, count);
    done += count;
  }
  return crc == wanted;
}

/* The slot of the newest image and its number; -1: there is none. */
static int tm_store_newest(const tm_store_contents *of, const tm_store *store, uint32_t *sequence) {
  uint32_t other = 0;
  const int first = tm_store_valid(of, store, 0, sequence);
  if (!tm_store_valid(of, store, 1, &other)) {
    return first ? 0 : -1;
  }
  if (first && (int32_t)(other - *sequence) <= 0) {
    return 0;
  }
  *sequence = other;
  return 1;
}

/* Writes that wait to be whole blocks. */
typedef struct {
  const tm_store *store;
  int slot;
  size_t offset, held;
  uint8_t block[TM_STORE_BLOCK];
} tm_store_writer;

static int tm_store_write(tm_store_writer *to, const uint8_t *from, size_t bytes) {
  while (bytes != 0) {
    const size_t room = to->store->block - to->held;
    const size_t count = bytes < room ? bytes : room;
    memcpy(to->block + to->held, from, count);
    to->held += count;
    from += count;
    bytes -= count;
    if (to->held == to->store->block) {
      if (to->store->write(to->store->user, to->slot, to->offset, to->block, to->held) != 0) {
        return 1;
      }
      to->offset += to->held;
      to->held = 0;
    }
  }
  return 0;
}

static tm_status tm_store_keep(const tm_store_contents *of, const uint8_t *state,
                               const tm_store *store) {
  static const uint8_t filling = 0xFF;
  uint8_t head[TM_STORE_HEADER];
  tm_store_writer to;
  uint32_t sequence = 0;
  if (store->block == 0 || store->block > TM_STORE_BLOCK ||
      (store->block & (store->block - 1)) != 0) {
    return TM_BAD_ARGUMENT;
  }
  to.store = store;
  to.slot = tm_store_newest(of, store, &sequence) == 0 ? 1 : 0;
  to.offset = 0;
  to.held = 0;
  ++sequence;
  if (store->erase(store->user, to.slot) != 0) {
    return TM_STORE_FAILED;
  }
  tm_store_head(of, state, sequence, head);
  int failed = tm_store_write(&to, head, TM_STORE_HEADER);
  for (uint32_t i = 0; i < of->count && !failed; ++i) {
    failed = tm_store_write(&to, state + of->pieces[i].offset, of->pieces[i].bytes);
  }
  while (to.held != 0 && !failed) {
    failed = tm_store_write(&to, &filling, 1);
  }
  uint32_t found = 0;
  if (failed || !tm_store_valid(of, store, to.slot, &found) || found != sequence) {
    return TM_STORE_FAILED;
  }
  return TM_OK;
}

/* TM_STORE_FAILED: the newest image could be read once and not again; the trained part is then
 * part of it and no use. */
static tm_status tm_store_restore(const tm_store_contents *of, uint8_t *state,
                                  const tm_store *store) {
  uint8_t head[TM_STORE_HEADER];
  uint32_t sequence = 0;
  const int slot = tm_store_newest(of, store, &sequence);
  if (slot < 0) {
    return TM_BAD_IMAGE;
  }
  if (store->read(store->user, slot, 0, head, TM_STORE_HEADER) != 0) {
    return TM_BAD_IMAGE;
  }
  size_t offset = TM_STORE_HEADER;
  for (uint32_t i = 0; i < of->count; ++i) {
    const tm_store_piece *const piece = &of->pieces[i];
    if (store->read(store->user, slot, offset, state + piece->offset, piece->bytes) != 0) {
      return TM_STORE_FAILED;
    }
    offset += piece->bytes;
  }
  const uint32_t crc = tm_store_crc32(0, head, TM_STORE_HEADER - 4);
  return tm_store_state_crc32(of, state, crc) == tm_store_get(head + 20) ? TM_OK : TM_STORE_FAILED;
}
