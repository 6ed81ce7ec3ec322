/* Symbols of the linker script, and what start-up code of every core does with them. */
#ifndef TM_TARGET_START_H
#define TM_TARGET_START_H

#include <stdint.h>

extern uint32_t tm_link_data_load[];
extern uint32_t tm_link_data_start[];
extern uint32_t tm_link_data_end[];
extern uint32_t tm_link_bss_start[];
extern uint32_t tm_link_bss_end[];
extern uint32_t tm_link_stack_top[];

int main(void);

/* Gives the variables their initial values. */
static inline void tm_start_memory(void) {
  const uint32_t *from = tm_link_data_load;
  for (uint32_t *to = tm_link_data_start; to < tm_link_data_end; ++to) {
    *to = *from++;
  }
  for (uint32_t *to = tm_link_bss_start; to < tm_link_bss_end; ++to) {
    *to = 0;
  }
}

#endif
