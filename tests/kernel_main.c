/* Runs the cases of test_kernels.py, on the host and on simulated cores.
 *
 * input.bin: the number of the first case (uint32), then for each variant of each case its runs'
 * inputs, from that case on. output.bin: the outputs in the same order. Before a run the arena is
 * filled with a pattern; after it every byte outside the buffers, and every input that the output
 * does not overlay, must be as before. Lines "case <k>" on stdout tell where the program is,
 * lines "wrong ..." what it found. */
#include <stddef.h>

#include "cases.h"
#include "port.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#else
#define ASAN_POISON_MEMORY_REGION(place, bytes) ((void)(place), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(place, bytes) ((void)(place), (void)(bytes))
__attribute__((section(".tm_arena"), aligned(16))) static uint8_t memory[TM_CASES_ARENA];
#endif

const uint32_t *tm_at;

static void print_number(uint32_t value) {
  static const uint32_t powers[] = {1000000000u, 100000000u, 10000000u, 1000000u, 100000u,
                                    10000u,      1000u,      100u,      10u,      1u};
  char text[2] = {'0', '\0'};
  int started = 0;
  for (size_t i = 0; i < sizeof powers / sizeof powers[0]; ++i) {
    text[0] = '0';
    while (value >= powers[i]) {
      value -= powers[i];
      ++text[0];
    }
    started = started || text[0] != '0' || powers[i] == 1u;
    if (started) {
      tm_port_print(text);
    }
  }
  tm_port_print(" ");
}

static void wrong(const char *what, uint32_t index, uint32_t run, uint32_t number) {
  tm_port_print("wrong ");
  print_number(index);
  print_number(run);
  tm_port_print(what);
  tm_port_print(" ");
  print_number(number);
  tm_port_print("\n");
}

/* The pattern of a run at a place of the arena. */
static uint8_t pattern(uint32_t run, uint32_t place) {
  return (uint8_t)(0xA5u + run * 0x5Bu + place * 7u);
}

static uint32_t hash(const uint8_t *bytes, uint32_t count) {
  uint32_t value = 2166136261u;
  for (uint32_t i = 0; i < count; ++i) {
    value = (value ^ bytes[i]) * 16777619u;
  }
  return value;
}

static void run_once(const tm_case *it, uint32_t index, uint32_t run, uint8_t *arena) {
  uint32_t hashes[TM_CASES_INPUTS] = {0};
  for (uint32_t i = 0; i < it->arena; ++i) {
    arena[i] = pattern(run, i);
  }
  for (uint32_t i = 0; i < it->inputs; ++i) {
    uint8_t *to = arena + it->offsets[it->input[i].buffer];
    if (tm_port_read(to, it->input[i].bytes) != it->input[i].bytes) {
      tm_port_print("error input.bin ends early\n");
      tm_port_exit(1);
    }
    hashes[i] = hash(to, it->input[i].bytes);
  }
  tm_at = it->offsets;
  for (uint32_t i = 0; i < it->gaps; ++i) {
    ASAN_POISON_MEMORY_REGION(arena + it->gap[i].start, it->gap[i].end - it->gap[i].start);
  }
  const int status = it->call(arena);
  ASAN_UNPOISON_MEMORY_REGION(arena, it->arena);
  if (status != 0) {
    wrong("status", index, run, (uint32_t)status);
  }
  for (uint32_t i = 0; i < it->gaps; ++i) {
    for (uint32_t place = it->gap[i].start; place < it->gap[i].end; ++place) {
      if (arena[place] != pattern(run, place)) {
        wrong("guard", index, run, place);
        break;
      }
    }
  }
  for (uint32_t i = 0; i < it->inputs && it->overlay == 0; ++i) {
    if (hash(arena + it->offsets[it->input[i].buffer], it->input[i].bytes) != hashes[i]) {
      wrong("input", index, run, i);
    }
  }
  tm_port_write(arena + it->offsets[it->output.buffer], it->output.bytes);
}

int main(void) {
  uint32_t first = 0;
  tm_port_open();
  (void)tm_port_read(&first, sizeof first);
  for (uint32_t index = first; index < TM_CASES; ++index) {
    const tm_case *it = &tm_cases[index];
    tm_port_print("case ");
    print_number(index);
    tm_port_print("\n");
#if defined(__SANITIZE_ADDRESS__)
    fflush(NULL); /* what the sanitizer ends the program with must not be lost */
    uint8_t *memory = malloc(it->arena);
    if (memory == NULL) {
      return 1;
    }
#endif
    for (uint32_t run = 0; run < it->runs; ++run) {
      run_once(it, index, run, memory);
    }
#if defined(__SANITIZE_ADDRESS__)
    free(memory);
#endif
  }
  tm_port_print("end\n");
  tm_port_exit(0);
}
