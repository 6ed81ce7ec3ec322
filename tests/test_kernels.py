"""Every int8 kernel over generated shapes: right bytes, and none outside of its buffers.

kernel_cases.py says how to run a part of it, kernel_harness.py what is tried with each case.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from conftest import need_tool
from kernel_cases import FAMILIES as INFERENCE
from kernel_cases import Case
from kernel_harness import FORMS, Batch, Target, run_on_board, run_on_host
from tinymill.boards import Board, load_board
from tinymill.schedule.kernels import Kernel, kernel_table
from training_cases import TRAINING

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

FAMILIES = INFERENCE | TRAINING
UPDATES = frozenset({"conv_weight_update", "bias_update"})
"""Families that tests/test_training_kernels.py has."""

LONG = "TINYMILL_CASES" in os.environ
PER_KERNEL = int(os.environ.get("TINYMILL_CASES", "12"))
"""Cases that each kernel serves in a family."""
SEED = int(os.environ.get("TINYMILL_SEED", time.time_ns() % 100_000 if LONG else 1))
ONLY = os.environ.get("TINYMILL_KERNEL")
ON_BOARD = os.environ.get("TINYMILL_FAMILIES", " ".join(FAMILIES)).split()
"""Families whose sample runs on the boards."""

DRAWS = (4 * PER_KERNEL, 16 * PER_KERNEL)
"""Cases drawn; the second where a kernel is served by few of the first."""

SHRINK_SECONDS = 20.0
MOST_REPORTED = 6
PER_KERNEL_ON_BOARD = min(PER_KERNEL, 3)
MOST_UNITS = 120

_DSP = frozenset({"dsp"})
_FPU = _DSP | {"fpu"}
_MVE = _FPU | {"fpu64", "mve", "mve-fp"}
TARGETS = {
    "plain": Target(frozenset()),
    "plain-size": Target(frozenset(), "size"),
    "smlal": Target(frozenset({"smlal"})),
    "thumb1": Target(frozenset({"thumb1"})),
    "dsp": Target(_DSP),
    "dsp-size": Target(_DSP, "size"),
    "dsp+fpu": Target(_FPU),
    "mve": Target(_MVE),
    "mve-size": Target(_MVE, "size"),
}

BOARDS = (
    "microbit", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547",
    "riscv32-virt",
)  # fmt: skip


@cache
def draw_cases(family: str, count: int) -> tuple[Case, ...]:
    """The first ``count`` cases of a family, each once."""
    found: dict[Case, None] = {}

    @seed(SEED)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(FAMILIES[family]())
    def collect(case: Case) -> None:
        found[case] = None

    collect()
    return tuple(found)


def choose_cases(
    family: str, target: Target, per_kernel: int, earlier: Sequence[Target] = ()
) -> list[Case]:
    """Cases such that each kernel that serves this family has several; without those that the
    same kernel serves on an earlier target."""
    served: dict[str, list[Case]] = {}
    for count in DRAWS:
        served.clear()
        for case in draw_cases(family, count):
            kernel = target.kernel_of(case)
            if not any(other.kernel_of(case) is kernel for other in earlier):
                served.setdefault(kernel.name, []).append(case)
        if all(len(cases) >= per_kernel for cases in served.values()):
            break
    if ONLY is not None:
        return served.get(ONLY, [])[:per_kernel]
    return [case for cases in served.values() for case in cases[:per_kernel]]


def forms_of(number: int, all_of_them: bool = False) -> tuple[str, ...]:
    """The forms in which case ``number`` runs beside the whole call."""
    return FORMS if all_of_them else (FORMS[number % len(FORMS)], FORMS[(number + 1) % len(FORMS)])


def on_host(cases: Iterable[Case], target: Target, folder: Path) -> dict[Case, str]:
    batch = Batch(target, guard=256, shift=4, runs=3)
    for number, case in enumerate(cases):
        batch.add(case, forms_of(number, LONG))
    run_on_host(batch, folder)
    return batch.problems()


def test_every_kernel_for_some_core_is_served() -> None:
    """The drawn cases reach each kernel that is written for certain cores."""
    waiting = {
        kernel.name
        for kernel in kernel_table()
        if kernel.folder != "generic" and kernel.family not in UPDATES
    }
    for family in FAMILIES:
        for case in draw_cases(family, DRAWS[0]):
            waiting -= {target.kernel_of(case).name for target in TARGETS.values()}
        if not waiting:
            break
    assert not waiting


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_host(family: str, target: str, tmp_path: Path) -> None:
    """With sanitizers, every buffer between poisoned guards and as planned, whole and in parts."""
    need_tool("gcc")
    chosen = TARGETS[target]
    earlier = list(TARGETS.values())[: list(TARGETS).index(target)]
    cases = choose_cases(family, chosen, PER_KERNEL, earlier)
    if not cases:
        return
    problems = on_host(cases, chosen, tmp_path / "all")
    if problems:
        pytest.fail(report(problems, family, chosen, tmp_path), pytrace=False)


def report(problems: dict[Case, str], family: str, target: Target, folder: Path) -> str:
    """What is wrong, and for each kernel that is a small case of it."""
    lines = [f"{len(problems)} cases of {family} go wrong (TINYMILL_SEED={SEED})"]
    seen: set[str] = set()
    for case, problem in list(problems.items())[:MOST_REPORTED]:
        kernel = target.kernel_of(case)
        lines += ["", f"{kernel.name}: {problem}", f"    {case}"]
        if kernel.name not in seen and len(seen) < 2:
            seen.add(kernel.name)
            found = shrink(case, kernel, family, target, folder / f"shrink-{kernel.name}")
            if found is not None:
                lines += [f"  smaller: {found[1]}", f"    {found[0]}"]
    return "\n".join(lines)


def shrink(
    case: Case, kernel: Kernel, family: str, target: Target, folder: Path
) -> tuple[Case, str] | None:
    """The smallest case of ``kernel`` found in a while that goes wrong.

    Hypothesis draws the same cases again, finds this one to fail and makes it smaller.
    """
    known: dict[Case, str] = {}
    draws = next(count for count in DRAWS if case in draw_cases(family, count))
    drawn = set(draw_cases(family, draws))
    best: list[tuple[Case, str]] = []
    end = time.monotonic() + SHRINK_SECONDS

    def verdict(tried: Case) -> str:
        if tried == case:
            return "yes"
        if tried not in known:
            known[tried] = ""
            fresh = tried not in drawn and time.monotonic() < end
            if fresh and target.kernel_of(tried) is kernel:
                batch = Batch(target, guard=256, shift=4, runs=3)
                batch.add(tried, FORMS)
                run_on_host(batch, folder / str(len(known)))
                known[tried] = batch.problems().get(tried, "")
        return known[tried]

    @seed(SEED)
    @settings(
        max_examples=draws, database=None, deadline=None,
        phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )  # fmt: skip
    @given(FAMILIES[family]())
    def check(tried: Case) -> None:
        problem = verdict(tried)
        if problem:
            if tried != case:
                best[:] = [(tried, problem)]
            raise AssertionError

    try:
        check()
    except AssertionError:
        return best[0] if best else None
    return None


# -- target -------------------------------------------------------------------------------------


def firmwares(board: Board) -> list[Batch]:
    """The sample for a board, in programs that fit it."""
    target = Target(frozenset(board.features))
    ram, flash = board.ram[0].size, board.flash[0].size
    found: list[Batch] = []
    number = 0
    for family in ON_BOARD:
        added: Counter[str] = Counter()
        for case in choose_cases(family, target, PER_KERNEL):
            kernel = target.kernel_of(case).name
            if added[kernel] == PER_KERNEL_ON_BOARD:
                continue
            if not found or found[-1].constants > flash // 4 or len(found[-1].units) > MOST_UNITS:
                found.append(Batch(target, guard=32, shift=4, runs=2))
            # what does not fit the smallest boards is left to the others
            if found[-1].add(case, forms_of(number)[:1], arena=ram * 5 // 8):
                number += 1
                added[kernel] += 1
    return [batch for batch in found if batch.variants]


@pytest.mark.parametrize("board", BOARDS)
def test_target(board: str, tmp_path: Path) -> None:
    """On simulated cores, with the bytes around every buffer checked."""
    found = load_board(board)
    assert found.simulator is not None
    need_tool(f"{found.compiler.family}-gcc", found.simulator.program)
    lines = []
    for index, batch in enumerate(firmwares(found)):
        folder = tmp_path / str(index)
        folder.mkdir()
        run_on_board(batch, found, folder)
        for case, problem in batch.problems().items():
            lines += ["", f"{batch.target.kernel_of(case).name}: {problem}", f"    {case}"]
    if lines:
        pytest.fail("\n".join(lines[: 3 * MOST_REPORTED]), pytrace=False)
