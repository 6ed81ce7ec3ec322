/* Runs the model's calls on a stack of their own and measures them. One implementation for the
 * simulated boards (measure_simulated.c), one for the host (measure_host.c). */
#ifndef TM_TARGET_MEASURE_H
#define TM_TARGET_MEASURE_H

#include "target.h"

typedef tm_status (*tm_model_call)(tm_model_context *context);

/* Before the first run: starts the counter, paints the stack, measures its own cost. */
void tm_measure_start(tm_model_context *context);

/* One inference. The first one is counted; the stack is the peak over all. */
tm_status tm_measure_run(tm_model_context *context);

/* Prints "stack", "instructions" and "layer" lines, as far as the place can tell them. */
void tm_measure_report(void);

/* "<name> <value>" or "<name> <index> <value>" as a line on stdout. */
void tm_print_figure(const char *name, uint64_t value);
void tm_print_indexed(const char *name, uint32_t index, uint64_t value);

#endif
