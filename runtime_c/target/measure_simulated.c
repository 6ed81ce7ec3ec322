/* Counts instructions in a simulator whose virtual time is one nanosecond an instruction.
 *
 * A timer that ticks every q/p instructions shows floor(p t / q). The sum of q reads, a constant
 * number of instructions a apart with gcd(p a, q) = 1, is p t plus a constant: every remainder
 * occurs once. So a time stamp is exact to the instruction though a tick is many. All that
 * follows a stamp's reads is the same straight line each time; its cost is measured once and
 * taken off. RISC-V counts retired instructions itself. */
#include <stdbool.h>

#include "measure.h"
#include "port.h"
#include "stack.h"

#if defined(__riscv)

struct stamp {
  uint32_t high;
  uint32_t low;
  uint32_t high_again;
};

static inline __attribute__((always_inline)) void take_stamp(struct stamp *stamp) {
  uint32_t high;
  uint32_t low;
  uint32_t high_again;
  __asm__ volatile(
      "csrr %0, minstreth\n\t"
      "csrr %1, minstret\n\t"
      "csrr %2, minstreth"
      : "=&r"(high), "=&r"(low), "=&r"(high_again)
      :
      : "memory");
  stamp->high = high;
  stamp->low = low;
  stamp->high_again = high_again;
}

static uint64_t elapsed(const struct stamp *from, const struct stamp *to) {
  /* A low word that wrapped between the two reads of the high one is small after the wrap and
   * large before it. */
  const uint32_t to_high = (to->low >> 31) != 0 ? to->high : to->high_again;
  const uint32_t from_high = (from->low >> 31) != 0 ? from->high : from->high_again;
  return (((uint64_t)to_high << 32) | to->low) - (((uint64_t)from_high << 32) | from->low);
}

static void start_counter(void) {
}

#if defined(TM_PROFILE)
#define PROLOGUE_INSTRUCTIONS 2u
__asm__(
    ".section .text.tm_calls, \"ax\", %progbits\n"
    ".globl tm_two_stamps\n"
    ".type tm_two_stamps, %function\n"
    "tm_two_stamps:\n\t"
    "addi sp, sp, -16\n\t"
    "sw ra, 12(sp)\n\t"
    "li a0, 0\n\t"
    "jal ra, tm_profile\n\t"
    "li a0, 1\n\t"
    "jal ra, tm_profile\n\t"
    "li a0, 0\n\t"
    "lw ra, 12(sp)\n\t"
    "addi sp, sp, 16\n\t"
    "ret\n"
    ".size tm_two_stamps, . - tm_two_stamps\n");
#endif

#else

struct stamp {
  uint32_t first;
  uint32_t sum; /* of the ticks between the first read and each, at the top of the word */
#if defined(TM_COARSE_COUNTER)
  uint32_t coarse;
#endif
};

#define COUNTER_SHIFT (32 - TM_TIMER_BITS)

static volatile uint32_t *at(uint32_t address) {
  return (volatile uint32_t *)(uintptr_t)address;
}

static inline __attribute__((always_inline)) void take_stamp(struct stamp *stamp) {
  uint32_t first;
  uint32_t sum;
  uint32_t read;
  uint32_t left = TM_TIMER_READS;
#if defined(TM_COARSE_CAPTURE)
  *at(TM_COARSE_CAPTURE) = TM_COARSE_CAPTURE_VALUE;
#endif
#if defined(TM_COARSE_COUNTER)
  const uint32_t coarse = *at(TM_COARSE_COUNTER);
#endif
  /* Seven instructions a read. */
  __asm__ volatile(
      ".syntax unified\n\t"
      "ldr %[first], [%[counter]]\n\t"
      "movs %[sum], #0\n\t"
      "1:\n\t"
      "ldr %[read], [%[counter]]\n\t"
#if TM_TIMER_UP
      "subs %[read], %[read], %[first]\n\t"
#else
      "subs %[read], %[first], %[read]\n\t"
#endif
      "lsls %[read], %[read], %[shift]\n\t"
      "adds %[sum], %[sum], %[read]\n\t"
      "nop\n\t"
      "subs %[left], %[left], #1\n\t"
      "bne 1b"
      : [first] "=&l"(first), [sum] "=&l"(sum), [read] "=&l"(read), [left] "+&l"(left)
      : [counter] "l"(TM_TIMER_COUNTER), [shift] "I"(COUNTER_SHIFT)
      : "cc", "memory");
  stamp->first = first;
  stamp->sum = sum;
#if defined(TM_COARSE_COUNTER)
  stamp->coarse = coarse;
#endif
}

/* Multiplies without the compiler's library, which counts as the model's code. */
static uint64_t multiply(uint64_t left, uint32_t right) {
  uint64_t product = 0;
  while (right != 0) {
    if ((right & 1u) != 0) {
      product += left;
    }
    left <<= 1;
    right >>= 1;
  }
  return product;
}

/* Instructions between two stamps. */
static uint64_t elapsed(const struct stamp *from, const struct stamp *to) {
#if TM_TIMER_UP
  const uint32_t raw = to->first - from->first;
#else
  const uint32_t raw = from->first - to->first;
#endif
  const uint32_t ticks = (raw << COUNTER_SHIFT) >> COUNTER_SHIFT;
  uint64_t fine = multiply(ticks, TM_TIMER_READS) + (to->sum >> COUNTER_SHIFT);
  fine -= from->sum >> COUNTER_SHIFT;
#if defined(TM_COARSE_COUNTER)
  const uint64_t wrap = (uint64_t)TM_TIMER_READS << TM_TIMER_BITS;
  const uint64_t coarse =
      multiply((uint64_t)(uint32_t)(to->coarse - from->coarse) << TM_TIMER_SCALE_SHIFT,
               TM_COARSE_INSTRUCTIONS);
  while (fine + wrap / 2u < coarse) {
    fine += wrap;
  }
#endif
  return fine >> TM_TIMER_SCALE_SHIFT;
}

static void start_counter(void) {
  static const uint32_t writes[][2] = TM_TIMER_START;
  for (size_t index = 0; index < sizeof writes / sizeof writes[0]; ++index) {
    *at(writes[index][0]) = writes[index][1];
  }
}

#if defined(TM_PROFILE)
#define PROLOGUE_INSTRUCTIONS 1u
__asm__(
    ".syntax unified\n"
    ".section .text.tm_calls, \"ax\", %progbits\n"
    ".thumb\n"
    ".globl tm_two_stamps\n"
    ".type tm_two_stamps, %function\n"
    ".thumb_func\n"
    "tm_two_stamps:\n\t"
    "push {r4, lr}\n\t"
    "movs r0, #0\n\t"
    "bl tm_profile\n\t"
    "movs r0, #1\n\t"
    "bl tm_profile\n\t"
    "movs r0, #0\n\t"
    "pop {r4, pc}\n"
    ".size tm_two_stamps, . - tm_two_stamps\n");
#endif

#endif

static struct stamp before;
static struct stamp after;
static uint64_t call_cost;
static uint64_t instructions;
static bool counted;

/* One function for the model and for the empty call, so that both stamps cost the same. */
static __attribute__((noinline)) tm_status count(tm_model_call call, tm_model_context *context) {
  take_stamp(&before);
  const tm_status status = tm_call_on_stack(call, context, tm_link_model_stack_top);
  take_stamp(&after);
  return status;
}

#if defined(TM_PROFILE)

tm_status tm_two_stamps(tm_model_context *context);
void tm_profile(int32_t layer);

/* A front end counts as one more layer. */
#if defined(TM_MODEL_FRONTEND_BLOCK)
#define COUNTED (TM_MODEL_LAYER_COUNT + 1)
#else
#define COUNTED TM_MODEL_LAYER_COUNT
#endif

/* Of each layer: instructions between the hook before and the one behind each of its turns. The
 * plugin in QEMU tells by what is written here whose turn ends. */
uint64_t tm_layer_counts[COUNTED > 2 ? COUNTED : 2];
static struct stamp hook;
static const struct stamp *from;
static uint64_t first_turn_cost;
static uint64_t turn_cost;

/* The model calls this behind each turn of a layer. What it does between its two stamps is not
 * counted. */
void tm_profile(int32_t layer) {
  struct stamp now;
  take_stamp(&now);
  tm_layer_counts[layer] += elapsed(from, &now) - (from == &hook ? turn_cost : first_turn_cost);
  from = &hook;
  take_stamp(&hook);
}

static void measure_layer_cost(tm_model_context *context) {
  from = &before;
  (void)count(tm_two_stamps, context);
  first_turn_cost = tm_layer_counts[0] - PROLOGUE_INSTRUCTIONS;
  turn_cost = tm_layer_counts[1];
  tm_layer_counts[0] = 0;
  tm_layer_counts[1] = 0;
}

static void report_layers(void) {
  for (uint32_t layer = 0; layer != TM_MODEL_LAYER_COUNT; ++layer) {
    tm_print_indexed("layer", layer, tm_layer_counts[layer]);
  }
#if defined(TM_MODEL_FRONTEND_BLOCK)
  tm_print_figure("front", tm_layer_counts[TM_MODEL_LAYER_COUNT]);
#endif
}

#endif

void tm_measure_start(tm_model_context *context) {
  start_counter();
  (void)count(tm_empty_call, context);
  call_cost = elapsed(&before, &after) - 1u;
#if defined(TM_PROFILE)
  measure_layer_cost(context);
#endif
  tm_paint_stack();
}

tm_status tm_measure_prepare(tm_model_call call, tm_model_context *context) {
#if defined(TM_PROFILE)
  from = &before;
#endif
  const tm_status status = count(call, context);
#if defined(TM_PROFILE)
  for (uint32_t layer = 0; layer != TM_MODEL_LAYER_COUNT; ++layer) {
    tm_layer_counts[layer] = 0;
  }
#endif
  return status;
}

#if defined(TM_TRAIN)
static uint32_t steps;
#endif

tm_status tm_measure_call(tm_model_call call, tm_model_context *context) {
#if !defined(TM_TRAIN)
  if (counted) {
    return tm_call_on_stack(call, context, tm_link_model_stack_top);
  }
#endif
#if defined(TM_PROFILE)
  from = &before;
#endif
  const tm_status status = count(call, context);
#if defined(TM_TRAIN)
  tm_print_indexed("step", steps, elapsed(&before, &after) - call_cost);
  ++steps;
  if (counted) {
    return status;
  }
#endif
  instructions += elapsed(&before, &after) - call_cost;
  return status;
}

void tm_measure_end_frame(void) {
#if defined(TM_PROFILE)
  if (!counted) {
    report_layers();
  }
#endif
  counted = true;
}

void tm_measure_report(void) {
  const uint32_t peak = tm_stack_peak();
  if (peak == TM_STACK_FULL) {
    tm_port_print("error the model's stack overflows\n");
    tm_port_exit(1);
  }
  tm_print_figure("stack", peak);
  tm_print_figure("instructions", instructions);
}
