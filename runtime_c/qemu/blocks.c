/* A QEMU plugin: how often each block of code ran in the first inference.
 *
 * A block is a straight run of instructions as QEMU translated it: entered at its start, left at
 * its end. Counting begins whenever `start` is executed, pauses at `stop` and is over at `over`.
 * Code within `skip` (the harness, low-high) is left out. The hook behind a layer's turn writes to
 * the layer's place among `layers` (64 bits each, low-high): what ran since the last one is the
 * layer's. What is written to `out`, a line for each block that ran:
 *
 *   <layer> <start> <instructions> <executed> <left by a jump> <penalty of unaligned loads>
 *
 * and "end" as the last line; what ran behind the last hook has the number behind all layers. The
 * penalty is that of a core which splits an unaligned load: a halfword at an odd address 1, a word
 * at an even one 1, at an odd one 2. (Where QEMU looked at the code behind a block, at the end of a
 * page, the block's last instruction seems longer than it is: jumps tell something only of blocks
 * that end with a branch.)
 *
 * The declarations are those functions of QEMU's plugin interface that are used here; the
 * interface is stable, and a plugin says which version of it it was written for. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef TM_PLUGIN_VERSION
#define TM_PLUGIN_VERSION 1
#endif

#define CALLBACK_READS_NO_REGISTERS 0
#define MEMORY_READS_AND_WRITES 3 /* QEMU 7.2 takes "reads" for "writes" */

typedef uint64_t plugin_id;
typedef uint32_t access_facts;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
                                           void (*callback)(plugin_id id,
                                                            struct qemu_plugin_tb *block));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block,
                                          void (*callback)(unsigned int core, void *user),
                                          int flags, void *user);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *instruction,
                                      void (*callback)(unsigned int core, access_facts facts,
                                                       uint64_t address, void *user),
                                      int flags, int direction, void *user);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);
unsigned int qemu_plugin_mem_size_shift(access_facts facts);
bool qemu_plugin_mem_is_store(access_facts facts);

int qemu_plugin_install(plugin_id id, const void *machine, int count, char **arguments);

__attribute__((visibility("default"))) int qemu_plugin_version = TM_PLUGIN_VERSION;

struct block {
  struct block *next;
  uint64_t start;
  uint64_t end;
  size_t instructions;
  uint64_t executed;
  uint64_t jumps;
  uint64_t penalty;
};

static struct block *blocks;
static struct block *previous; /* the block that ran last, NULL behind skipped code */
static uint64_t start_address = UINT64_MAX;
static uint64_t stop_address = UINT64_MAX;
static uint64_t over_address = UINT64_MAX;
static uint64_t layers_low;
static uint64_t layers_high;
static uint64_t skip_low;
static uint64_t skip_high;
static bool counting;
static FILE *out;

static void close_turn(uint64_t layer) {
  for (struct block *block = blocks; block != NULL; block = block->next) {
    if (block->executed != 0) {
      fprintf(out, "%" PRIu64 " %" PRIx64 " %zu %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", layer,
              block->start, block->instructions, block->executed, block->jumps, block->penalty);
    }
    block->executed = 0;
    block->jumps = 0;
    block->penalty = 0;
  }
}

static void leave_previous(uint64_t next) {
  if (previous != NULL && previous->end != next) {
    ++previous->jumps;
  }
  previous = NULL;
}

static void finish(void) {
  counting = false;
  start_address = UINT64_MAX;
  over_address = UINT64_MAX;
  close_turn((layers_high - layers_low) / sizeof(uint64_t));
  fputs("end\n", out);
  (void)fclose(out);
}

static void executed(unsigned int core, void *user) {
  struct block *block = user;
  (void)core;
  if (block->start == over_address) {
    finish();
    return;
  }
  if (!counting) {
    if (block->start != start_address) {
      return;
    }
    counting = true;
  }
  leave_previous(block->start);
  if (block->start == stop_address) {
    counting = false;
    return;
  }
  if (block->start >= skip_low && block->start < skip_high) {
    return;
  }
  ++block->executed;
  previous = block;
}

static void accessed(unsigned int core, access_facts facts, uint64_t address, void *user) {
  struct block *block = user;
  (void)core;
  if (!counting) {
    return;
  }
  if (qemu_plugin_mem_is_store(facts)) {
    if (address >= layers_low && address < layers_high) {
      close_turn((address - layers_low) / sizeof(uint64_t));
    }
    return;
  }
  switch (qemu_plugin_mem_size_shift(facts)) {
    case 1:
      block->penalty += address & 1u;
      break;
    case 2:
      block->penalty += (address & 1u) != 0 ? 2u : (address >> 1) & 1u;
      break;
    default:
      break;
  }
}

static void translated(plugin_id id, struct qemu_plugin_tb *source) {
  const size_t count = qemu_plugin_tb_n_insns(source);
  (void)id;
  if (count == 0) {
    return;
  }
  struct block *block = calloc(1, sizeof *block);
  if (block == NULL) {
    abort();
  }
  const struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(source, count - 1);
  block->start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(source, 0));
  block->instructions = count;
  block->end = qemu_plugin_insn_vaddr(last) + qemu_plugin_insn_size(last);
  block->next = blocks;
  blocks = block;
  qemu_plugin_register_vcpu_tb_exec_cb(source, executed, CALLBACK_READS_NO_REGISTERS, block);
  for (size_t index = 0; index < count; ++index) {
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(source, index), accessed,
                                     CALLBACK_READS_NO_REGISTERS, MEMORY_READS_AND_WRITES, block);
  }
}

/* The value of "name=value", else NULL. */
static const char *value_of(const char *argument, const char *name) {
  const size_t length = strlen(name);
  const bool same = strncmp(argument, name, length) == 0 && argument[length] == '=';
  return same ? argument + length + 1 : NULL;
}

static bool take_address(const char *argument, const char *name, uint64_t *address) {
  const char *value = value_of(argument, name);
  if (value != NULL) {
    *address = strtoull(value, NULL, 16);
  }
  return value != NULL;
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *machine,
                                                               int count, char **arguments) {
  (void)machine;
  for (int index = 0; index < count; ++index) {
    const char *argument = arguments[index];
    const char *name = value_of(argument, "out");
    if (name != NULL) {
      out = fopen(name, "w");
    } else if (!take_address(argument, "start", &start_address) &&
               !take_address(argument, "stop", &stop_address) &&
               !take_address(argument, "over", &over_address) &&
               !take_address(argument, "layers_low", &layers_low) &&
               !take_address(argument, "layers_high", &layers_high) &&
               !take_address(argument, "skip_low", &skip_low) &&
               !take_address(argument, "skip_high", &skip_high)) {
      return 1;
    }
  }
  if (out == NULL) {
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
