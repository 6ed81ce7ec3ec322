/* A sample of a motion sensor as a row of the model's input. */
#ifndef TM_FRONT_MOTION_H
#define TM_FRONT_MOTION_H

#include "tm_front.h"

typedef struct {
  int32_t axes;
  int32_t each; /* 1: a store for each axis, 0: one for all */
  const tm_front_store *stores;
} tm_front_motion_params;

static void tm_front_motion(const tm_front_motion_params *p, const int16_t *sample,
                            tm_front_element *row);

#endif
