#include "tm_front_motion.h"

static void tm_front_motion(const tm_front_motion_params *p, const int16_t *sample,
                            tm_front_element *row) {
  for (int32_t axis = 0; axis < p->axes; ++axis) {
    row[axis] = tm_front_stored(p->stores + p->each * axis, sample[axis]);
  }
}
