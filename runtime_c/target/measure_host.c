/* The host counts no instructions; the stack is a painted one that the model alone runs on. The
 * sanitizers keep stacks of their own, so there the figure is left out. */
#define _XOPEN_SOURCE 700

#include "measure.h"
#include "port.h"

#if defined(TM_SANITIZE) || defined(__SANITIZE_ADDRESS__)

void tm_measure_start(tm_model_context *context) {
  (void)context;
}

tm_status tm_measure_prepare(tm_model_call call, tm_model_context *context) {
  return call(context);
}

tm_status tm_measure_call(tm_model_call call, tm_model_context *context) {
  return call(context);
}

void tm_measure_end_frame(void) {
}

void tm_measure_report(void) {
}

#else

#include <stdalign.h>
#include <ucontext.h>

#define STACK_BYTES (1024u * 1024u)
#define STACK_PAINT 0xC3u /* not what fills the arena */

alignas(4096) static uint8_t stack[STACK_BYTES];
static ucontext_t harness;
static ucontext_t model;

static tm_model_call called;
static tm_model_context *running;
static tm_status status;
static uintptr_t top; /* the frame that calls the model */
static size_t peak;

static void enter(void) {
  top = (uintptr_t)__builtin_frame_address(0);
  status = called(running);
}

static _Noreturn void fail(const char *what) {
  tm_port_print(what);
  tm_port_exit(1);
}

void tm_measure_start(tm_model_context *context) {
  (void)context;
  for (size_t index = 0; index < STACK_BYTES; ++index) {
    stack[index] = STACK_PAINT;
  }
}

tm_status tm_measure_call(tm_model_call call, tm_model_context *context) {
  called = call;
  running = context;
  if (getcontext(&model) != 0) {
    fail("error the model's stack can't be made\n");
  }
  model.uc_stack.ss_sp = stack;
  model.uc_stack.ss_size = sizeof stack;
  model.uc_link = &harness;
  makecontext(&model, enter, 0);
  if (swapcontext(&harness, &model) != 0) {
    fail("error the model's stack can't be used\n");
  }
  size_t lowest = 0;
  while (lowest < STACK_BYTES && stack[lowest] == STACK_PAINT) {
    ++lowest;
  }
  if (lowest == 0) {
    fail("error the model's stack overflows\n");
  }
  peak = top - ((uintptr_t)stack + lowest);
  return status;
}

tm_status tm_measure_prepare(tm_model_call call, tm_model_context *context) {
  return tm_measure_call(call, context);
}

void tm_measure_end_frame(void) {
}

void tm_measure_report(void) {
  tm_print_figure("stack", peak);
}

#endif
