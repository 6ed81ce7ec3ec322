"""Layers whose weights and biases are variables: every kernel that serves them, and whole models."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import need_tool
from kernel_cases import FAMILIES, Case, varied
from kernel_harness import FORMS, Batch, Target, run_on_board, run_on_host
from test_kernels import DRAWS, TARGETS, draw_cases, forms_of
from tinymill.boards import load_board

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

LAYERS = ("conv2d", "pointwise", "grouped", "depthwise", "multiplier", "dense")
WHICH = ((2,), (1, 2), (1,))
EACH = 3
"""Cases of each row of the kernel table."""
ON_HOST = ("plain", "dsp", "dsp-size", "dsp+fpu")
ON_BOARD = ("mps2-an386", "mps3-an547", "riscv32-virt")


def cases_for(target: Target, each: int) -> list[Case]:
    """Some cases for each kernel, each of its forms, that serves variables on a target."""
    found: dict[tuple[int, str, tuple[int, ...]], list[Case]] = {}
    for family in LAYERS:
        assert family in FAMILIES
        for case in draw_cases(family, DRAWS[0]):
            for which in WHICH:
                other = varied(case, which)
                if other is None:
                    continue
                kernel = target.kernel_of(other)
                found.setdefault((id(kernel), family, which), []).append(other)
    return [case for cases in found.values() for case in cases[:each]]


@pytest.mark.parametrize("target", ON_HOST)
def test_host(target: str, tmp_path: Path) -> None:
    """With sanitizers, between poisoned guards, whole and in parts."""
    need_tool("gcc")
    batch = Batch(TARGETS[target], guard=256, shift=4, runs=2)
    for number, case in enumerate(cases_for(TARGETS[target], EACH)):
        batch.add(case, forms_of(number, False) if number % 2 else (FORMS[0],))
    run_on_host(batch, tmp_path)
    assert not batch.problems()


@pytest.mark.parametrize("name", ON_BOARD)
def test_board(name: str, tmp_path: Path) -> None:
    board = load_board(name)
    need_tool(f"{board.compiler.family}-gcc")
    need_tool(
        board.simulator.machine and "qemu-system-arm" if "mps" in name else "qemu-system-riscv32"
    )
    target = Target(frozenset(board.features))
    batch = Batch(target, guard=64, shift=4, runs=1)
    for case in cases_for(target, 1):
        batch.add(case, ("parts",), arena=60_000)
    run_on_board(batch, board, tmp_path)
    assert not batch.problems()
