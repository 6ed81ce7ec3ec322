"""Random tilings of real models: the bytes of the plain plan, whatever the cuts."""

from __future__ import annotations

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_baselines import model_file

import tinymill
from conftest import need_tool
from contract import WARNINGS
from tinymill.api.options import CompileOptions
from tinymill.api.planning import planner_of
from tinymill.emit import emit
from tinymill.schedule import Plan
from tinymill.schedule.plan import Choice
from tinymill.schedule.planner import Planner

COUNT = 16
MODELS = (
    "vww.tflite", "person_detect.tflite", "vww_96_int8.tflite", "pretrainedResnet_quant.tflite"
)  # fmt: skip
MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
{includes}
static unsigned char truth[1 << 20];
/* Runs one plan on a poisoned arena that ends where malloc's piece ends; the first one's outputs
 * are kept, the others' compared. */
#define CHECK(name, macro)                                                                     \\
  do {{                                                                                        \\
    for (int poison = 0x5A; poison <= 0xA5; poison += 0xA5 - 0x5A) {{                          \\
      name##_context context;                                                                  \\
      unsigned char *arena = aligned_alloc(16, (macro##_ARENA_BYTES + 15) / 16 * 16);          \\
      if (arena == NULL) return 1;                                                             \\
      memset(arena, poison, macro##_ARENA_BYTES);                                              \\
      if (name##_init(&context, arena, macro##_ARENA_BYTES) != TM_OK) return 2;                \\
      signed char *input = name##_input(&context, 0);                                          \\
      for (size_t i = 0; i < name##_input_bytes(0); ++i)                                       \\
        input[i] = (signed char)((((unsigned)i * 1103515245u + 12345u) >> 16 & 0xff) - 128);   \\
      if (name##_run(&context) != TM_OK) return 3;                                             \\
      size_t at = 0;                                                                           \\
      for (int i = 0; i < macro##_OUTPUT_COUNT; ++i) {{                                        \\
        const size_t bytes = name##_output_bytes(i);                                           \\
        if (number == 0) memcpy(truth + at, name##_output(&context, i), bytes);                \\
        if (memcmp(truth + at, name##_output(&context, i), bytes) != 0)                        \\
          printf("%s differs with poison %x\\n", #name, (unsigned)poison);                     \\
        at += bytes;                                                                           \\
      }}                                                                                       \\
      free(arena);                                                                             \\
    }}                                                                                         \\
    ++number;                                                                                  \\
  }} while (0)
int main(void) {{
  int number = 0;
{calls}
  printf("%d plans\\n", number);
  return 0;
}}
"""


def cuts(chance: random.Random, size: int) -> tuple[int, ...]:
    """Up to three places to cut, anywhere: unequal tiles, of one row too."""
    return tuple(sorted(chance.sample(range(1, size), min(size - 1, chance.randint(0, 3)))))


def tiling(planner: Planner, chance: random.Random) -> Plan:
    """A plan of layers whole and of tiles, in which at least one segment is cut."""
    nodes = planner.workshop.nodes
    while True:
        choices: list[Choice] = []
        place = 0
        while place < len(nodes):
            choice = Choice(chance.randint(2, 9))
            found = Choice(1)
            if place + choice.count <= len(nodes) and chance.random() < 0.6:
                last = planner.graph.type(nodes[place + choice.count - 1].outputs[0])
                if last.rank == 4:
                    _, height, width, _ = last.shape
                    choice = Choice(
                        choice.count, chance.randint(1, 4), chance.randint(0, 2),
                        cuts(chance, height), cuts(chance, width),
                    )  # fmt: skip
                    if choice.tiled and planner.candidates.section(place, choice) is not None:
                        found = choice
            choices.append(found)
            place += found.count
        if any(choice.tiled for choice in choices):
            return planner.realise(choices)


@pytest.mark.parametrize("name", MODELS)
def test_any_tiling_gives_the_plain_bytes(name: str, shared: Path, tmp_path: Path) -> None:
    need_tool("gcc")
    planner = planner_of(model_file(shared, name), "host", CompileOptions())
    chance = random.Random(name)
    plans = [planner.plan("min-time"), *(tiling(planner, chance) for _ in range(COUNT))]
    assert len({plan.choices for plan in plans}) == COUNT + 1
    assert max(len(c.along) + len(c.across) for plan in plans for c in plan.choices) >= 4
    names = [f"plan{index}" for index in range(len(plans))]
    jobs = ["main.c"]
    for each, plan in zip(names, plans, strict=True):
        for path, text in emit(plan, each).items():
            target = tmp_path / each / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        jobs += [f"{each}/{each}.c", f"{each}/{each}_weights.c"]
    includes = "\n".join(f'#include "{each}/{each}.h"' for each in names)
    calls = "\n".join(f"  CHECK({each}, {each.upper()});" for each in names)
    (tmp_path / "main.c").write_text(MAIN.format(includes=includes, calls=calls))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: gcc(tmp_path, "-c", job, "-o", f"{job}.o"), jobs))
    gcc(tmp_path, *(f"{job}.o" for job in jobs), "-o", "main", "-lm")
    done = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == f"{COUNT + 1} plans\n", done.stdout


def gcc(folder: Path, *arguments: str) -> None:
    flags = ["-std=c11", "-O1", "-ffp-contract=off", *WARNINGS]
    done = subprocess.run(
        ["gcc", *flags, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:4000]


def test_patched_halves_the_ram_of_vww(shared: Path) -> None:
    file = model_file(shared, "vww.tflite")
    for target in ("host", "mps2-an386"):
        whole = tinymill.plan_model(file, target=target, plan="min-time")
        found = tinymill.plan_model(file, target=target, plan="patched")
        assert found.arena_bytes <= whole.arena_bytes / 2
        assert whole.macs < found.macs <= 1.1 * whole.macs
