"""Two graphs in one project: steps of training on every target, images of what they changed.

The steps here are those of steps.py, which no gradient has a part in.
"""

from __future__ import annotations

import subprocess
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from steps import CLASSES, SHAPE, run_graph, step_graph

from conftest import need_tool
from tinymill.api.trainable import Trainable, compile_trainable, train_project
from tinymill.boards import Board, load_board
from tinymill.deploy.build import build
from tinymill.deploy.size import sections
from tinymill.deploy.toolchain import missing
from tinymill.emit.facts import MoveFacts, in_order
from tinymill.errors import CompileError, InvalidInput, OutOfMemory
from tinymill.ir import DType, TensorType, interpret
from tinymill.loaded import Loaded
from tinymill.schedule import changed_by, plan, sharing

STEPS = 7
RATES = np.linspace(0.5, -2.0, STEPS, dtype=np.float32)
LEARNED = ("w3", "b2", "b3")
LABELS = np.arange(STEPS) % CLASSES


def pictures() -> np.ndarray:
    shape = (STEPS, *SHAPE[1:])
    return np.random.default_rng(8).integers(-128, 128, shape).astype(np.int8)


@dataclass(frozen=True)
class Truth:
    """What the references give: losses, the variables after all steps, their crc32."""

    losses: np.ndarray
    variables: dict[str, np.ndarray]
    crc32: int


@pytest.fixture(scope="module")
def truth() -> Truth:
    graph = step_graph()
    state: dict[str, np.ndarray] = dict(graph.variables)
    losses = []
    for x, label, rate in zip(pictures(), LABELS, RATES, strict=True):
        inputs = {
            "x": x[None], "label": np.array([label], np.int32), "rate": np.array([rate]),
        }  # fmt: skip
        losses.append(interpret(graph, inputs, state)[graph.outputs[0].value][0])
    names = changed_by(graph, LEARNED)
    assert names == (*LEARNED, "counter")
    raw = b"".join(state[name].tobytes() for name in LEARNED)
    return Truth(np.array(losses), {name: state[name] for name in names}, zlib.crc32(raw))


def compiled_for(board: Board, goal: str = "min-ram") -> Trainable:
    return compile_trainable(
        run_graph(), step_graph(), CLASSES, LEARNED, board=board, name="little",
        plan=goal,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("little") / "project"
    compiled_for(load_board("host")).write(folder)
    return folder


def test_the_library_trains_as_the_references(project: Path, truth: Truth) -> None:
    need_tool("gcc")
    model = Loaded(project)
    losses = model.train(pictures(), labels=LABELS, rates=RATES)
    assert losses.tobytes() == truth.losses.tobytes()
    assert model.trained_crc32 == truth.crc32
    for name, value in truth.variables.items():
        assert np.array_equal(model.trained[name], value), name
    # inference sees what training left
    graph = run_graph()
    state = {name: truth.variables.get(name, v) for name, v in graph.variables.items()}
    x = pictures()[:1]
    found = model(x)
    wanted = interpret(graph, {"x": x}, dict(state))[graph.outputs[0].value]
    assert np.array_equal(found, wanted)


def test_an_image_is_carried_over(project: Path, truth: Truth) -> None:
    need_tool("gcc")
    model, other = Loaded(project), Loaded(project)
    fresh = other.trained_crc32
    model.train(pictures(), labels=LABELS, rates=RATES)
    image = model.save()
    for place in range(0, len(image), 7):
        broken = bytearray(image)
        broken[place] ^= 0x10
        if 12 <= place < 16:
            continue  # its number is checked too, by the crc32
        with pytest.raises(InvalidInput, match="no whole image"):
            other.load(bytes(broken))
        with pytest.raises(InvalidInput, match="no whole image"):
            other.load(image[:place])
    assert other.trained_crc32 == fresh
    other.load(image)
    assert other.trained_crc32 == truth.crc32
    other.reset()
    assert other.trained_crc32 == fresh


def test_wrong_labels_and_rates_change_nothing(project: Path) -> None:
    need_tool("gcc")
    model = Loaded(project)
    before = model.trained_crc32
    x = pictures()
    for labels, rates in (
        (CLASSES, 0.1), (-1, 0.1), (LABELS[:2], 0.1), (LABELS * 0.5, 0.1), (LABELS, np.nan),
        (LABELS, np.inf), (LABELS, RATES[:3]),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            model.train(x, labels=labels, rates=rates)
    assert model.trained_crc32 == before


@pytest.mark.parametrize(
    ("name", "goal"), [("host", "min-time"), ("mps2-an500", "min-ram"), ("riscv32-virt", "min-ram")]
)
def test_every_target_takes_the_same_steps(
    name: str, goal: str, truth: Truth, tmp_path: Path
) -> None:
    board = load_board(name)
    need_tool(*missing(board))
    compiled = compiled_for(board, goal)
    compiled.write(tmp_path / "project")
    frames = [x.tobytes() for x in pictures()]
    found = train_project(
        tmp_path / "project", compiled.description, board, frames, LABELS.tolist(), RATES.tolist(),
        layers=name == "mps2-an500",
    )  # fmt: skip
    assert found.losses.tobytes() == truth.losses.tobytes()
    assert found.trained_crc32 == truth.crc32
    # the context holds the variables once, the arena serves both
    state = sum(v.nbytes for v in step_graph().variables.values())
    assert found.ram.static >= state
    assert found.ram.arena == compiled.arena_bytes
    if name == "host":
        return
    assert len(found.instructions) == STEPS
    foretold = compiled.forecast()
    assert foretold is not None and foretold.stack is not None and found.ram.stack is not None
    # calls of the library of floats are not foretold
    assert -64 <= foretold.stack - found.ram.stack <= 200
    if name == "mps2-an500":
        counted = sum(layer.instructions or 0 for layer in found.layers)
        # the build with stamps is another one
        assert abs(found.instructions[0] - counted) < 0.02 * counted


def test_a_budget_of_ram(tmp_path: Path) -> None:
    """Arena, context with its variables and stack together, and what the linker has of the arena;
    too small a budget is refused with what is needed."""
    board = load_board("mps2-an500")
    need_tool(*missing(board))

    def within(ram: int) -> Trainable:
        return compile_trainable(
            run_graph(), step_graph(), CLASSES, LEARNED, board=board, name="little", ram=ram
        )

    with pytest.raises(OutOfMemory) as refused:
        within(600)
    compiled = within(refused.value.needed)
    compiled.write(tmp_path / "project")
    program = build(tmp_path / "project", board, tmp_path / "build", model="little", train=True)
    sizes = {section.name: section.size for section in sections(program)}
    assert sizes[".tm_arena"] == compiled.arena_bytes
    frames = [x.tobytes() for x in pictures()[:1]]
    found = train_project(
        tmp_path / "project", compiled.description, board, frames, [1], [0.5]
    )  # fmt: skip
    assert found.ram.total <= refused.value.needed


def test_a_step_to_a_vector_is_refused() -> None:
    step = step_graph()
    types = dict(step.types)
    (label,) = (port for port in step.inputs if port.name == "label")
    types[label.value] = TensorType((CLASSES,), DType.INT32)
    ports = tuple(
        replace(port, shape=(CLASSES,)) if port.name == "label" else port for port in step.inputs
    )
    board = load_board("host")
    with pytest.raises(CompileError, match="label"):
        compile_trainable(
            run_graph(), step.replace(types=types, inputs=ports), CLASSES, LEARNED, board=board,
            name="little", plan="min-time",
        )  # fmt: skip


STORE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "little.h"

#define SLOT (LITTLE_SAVED_BYTES + 64)
static uint8_t flash[2][SLOT];
static long left; /* bytes, erased slots counting one, that may be written before power fails */

static int spend(void) { return left == 0 ? 1 : (--left, 0); }
static int erase(void *user, int slot) {
  (void)user;
  for (size_t i = 0; i < SLOT; i += 1) {
    if (i % 16 == 0 && spend()) return 1;
    flash[slot][i] = 0xFF;
  }
  return 0;
}
static size_t block;
static int put(void *user, int slot, size_t offset, const void *from, size_t bytes) {
  (void)user;
  if (bytes != block || offset % block != 0 || offset + bytes > SLOT) abort();
  for (size_t i = 0; i < bytes; ++i) {
    if (flash[slot][offset + i] != 0xFF) abort();
    if (spend()) return 1;
    flash[slot][offset + i] = ((const uint8_t *)from)[i];
  }
  return 0;
}
static int get(void *user, int slot, size_t offset, void *to, size_t bytes) {
  (void)user;
  if (offset + bytes > SLOT) abort();
  memcpy(to, flash[slot] + offset, bytes);
  return 0;
}
static _Alignas(16) uint8_t arena[LITTLE_ARENA_BYTES];
static little_context a, b;
static uint32_t step(float rate) {
  memset(little_input(&a, 0), 3, little_input_bytes(0));
  float loss;
  if (little_train_step(&a, 1, rate, &loss) != TM_OK) abort();
  return little_trained_crc32(&a);
}
int main(void) {
  static const size_t blocks[] = {1, 8, 64};
  tm_store store = {NULL, erase, put, get, 1};
  little_init(&a, arena, sizeof arena);
  little_init(&b, arena, sizeof arena);
  if (little_train_step(&a, LITTLE_CLASSES, 1, NULL) != TM_BAD_LABEL) return 1;
  if (little_train_step(&a, -1, 1, NULL) != TM_BAD_LABEL) return 2;
  if (little_train_step(&a, 0, 1.0f / 0.0f, NULL) != TM_BAD_RATE) return 3;
  store.block = 3;
  if (little_store_save(&a, &store) != TM_BAD_ARGUMENT) return 4;
  for (int k = 0; k < 3; ++k) {
    store.block = block = blocks[k];
    memset(flash, 0x5A, sizeof flash);
    if (little_store_load(&b, &store) != TM_BAD_IMAGE) return 5;
    left = -1;
    uint32_t kept = step(0.25f);
    if (little_store_save(&a, &store) != TM_OK) return 6;
    uint32_t saves = 1;
    long cut = 0;
    for (;; ++cut) {
      const uint32_t fresh = step(0.25f);
      if (fresh == kept) return 7;
      left = cut;
      const tm_status status = little_store_save(&a, &store);
      left = -1;
      if (little_store_load(&b, &store) != TM_OK) return 8;
      const uint32_t found = little_trained_crc32(&b);
      if (status == TM_OK) {
        if (found != fresh) return 9;
        kept = fresh;
        ++saves;
        if (saves == 4) break;
        cut = 0;
      } else if (status != TM_STORE_FAILED || (found != kept && found != fresh)) {
        return 10;
      } else if (found == fresh) {
        return 11;
      }
    }
    printf("%ld\n", cut);
  }
  uint8_t image[LITTLE_SAVED_BYTES];
  if (little_saved_bytes() != sizeof image) return 12;
  if (little_save(&a, image, sizeof image - 1) != TM_BAD_ARGUMENT) return 17;
  if (little_save(&a, image, sizeof image) != TM_OK) return 13;
  little_forget(&b);
  image[8] ^= 1; /* another model */
  if (little_load(&b, image, sizeof image) != TM_BAD_IMAGE) return 14;
  image[8] ^= 1;
  if (little_load(&b, image, sizeof image) != TM_OK) return 15;
  return little_trained_crc32(&a) == little_trained_crc32(&b) ? 0 : 16;
}
"""


def test_a_save_that_is_cut_short_keeps_the_last(project: Path, tmp_path: Path) -> None:
    """Power fails after every single byte of erasing and writing, three saves over."""
    need_tool("gcc")
    (tmp_path / "store.c").write_text(STORE)
    sources = [str(project / f"little{part}.c") for part in ("", "_weights")]
    subprocess.run(
        ["gcc", "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wno-div-by-zero",
         "-fsanitize=address,undefined", "-fno-sanitize=float-divide-by-zero",
         "-fno-sanitize-recover=all",
         f"-I{project}", "store.c", *sources, "-o", "store", "-lm"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    done = subprocess.run(["./store"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[:2000]
    cuts = [int(line) for line in done.stdout.split()]
    assert len(cuts) == 3 and min(cuts) > 300


def test_inputs_are_moved_in_an_order_that_keeps_them() -> None:
    def move(source: int, target: int) -> MoveFacts:
        return MoveFacts(f"context->arena + {source}", f"context->arena + {target}", 100)

    first, second, third = move(0, 50), move(100, 300), move(300, 420)
    assert in_order([first, second, third]) == (third, second, first)
    with pytest.raises(CompileError, match="circle"):
        in_order([move(0, 100), move(100, 0)])


def test_variables_that_differ_are_refused() -> None:
    run, step = run_graph(), step_graph()
    other = dict(step.variables)
    other["b2"] = other["b2"] + 1
    with pytest.raises(CompileError, match="b2"):
        sharing(plan(run), plan(step.replace(variables=other)))
