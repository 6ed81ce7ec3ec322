/* Runs the model's calls on a stack of their own and measures them. One implementation for the
 * simulated boards (measure_simulated.c), one for the host (measure_host.c). */
#ifndef TM_TARGET_MEASURE_H
#define TM_TARGET_MEASURE_H

#include "target.h"

/* Before the first run: starts the counter, paints the stack, measures its own cost. */
void tm_measure_start(tm_model_context *context);

/* What comes before the first inference: on the model's stack, not counted. */
tm_status tm_measure_prepare(tm_model_call call, tm_model_context *context);

/* An inference, or a part of one. Those of the first frame are counted; the stack is the peak
 * over all. With TM_TRAIN each call is a step of training: the instructions of all are printed, as
 * "step" lines. */
tm_status tm_measure_call(tm_model_call call, tm_model_context *context);

/* Behind the last call of a frame. */
void tm_measure_end_frame(void);

/* Prints "stack", "instructions" and "layer" lines, as far as the place can tell them. */
void tm_measure_report(void);

/* "<name> <value>" or "<name> <index> <value>" as a line on stdout. */
void tm_print_figure(const char *name, uint64_t value);
void tm_print_indexed(const char *name, uint32_t index, uint64_t value);

#endif
