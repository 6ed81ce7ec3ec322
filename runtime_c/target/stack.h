/* The model runs on a stack of its own, below the harness's; it is painted, and the peak read back.
 * Not for the host (measure_host.c). */
#ifndef TM_TARGET_STACK_H
#define TM_TARGET_STACK_H

#include "target.h"

/* From the linker script. */
extern uint32_t tm_link_model_stack_low[];
extern uint32_t tm_link_model_stack_top[];

/* Calls `call` with the stack pointer at `top`. */
tm_status tm_call_on_stack(tm_model_call call, tm_model_context *context, uint32_t *top);

/* A model of one instruction: returns. */
tm_status tm_empty_call(tm_model_context *context);

/* Fills the model's stack with what no model writes. */
void tm_paint_stack(void);

#define TM_STACK_FULL UINT32_MAX

/* Bytes of the stack that were used since; TM_STACK_FULL where it may have overflowed. */
uint32_t tm_stack_peak(void);

#endif
