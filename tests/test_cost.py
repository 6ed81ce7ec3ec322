"""What the planner takes plans to cost, against instructions counted in QEMU (docs/planning.md)."""

from __future__ import annotations

import json
import pickle
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tinymill
from conftest import ROOT, need_tool
from tinymill.boards import load_board
from tinymill.deploy import missing
from tinymill.schedule.cost import cost_of, rates_of
from tinymill.schedule.kernels import kernel_table
from tinymill.schedule.plan import Plan

BOARD = "mps2-an386"
BENCH = json.loads((ROOT / "benchmarks" / "results.json").read_text())["models"]
MOST = 0.10
EXTRA = 2.0
"""By which factor the extra cost of less RAM may be wrong ..."""
SLACK = 0.01
"""... beside this part of the whole."""
SMALLER = ("pretrainedResnet_quant.tflite", "person_detect.tflite", "vww_96_int8.tflite")


@cache
def planned(file: Path, board: str, goal: Any) -> Plan:
    return tinymill.compile(file, target=board, plan=goal).plan


@pytest.mark.parametrize("name", BENCH)
def test_models_cost_what_they_are_modelled_to_cost(shared: Path, name: str) -> None:
    counted = BENCH[name]["cores"]["m4"]["instructions"]
    modelled = planned(shared / BENCH[name]["file"], BOARD, "min-time").cost
    assert modelled == pytest.approx(counted, rel=MOST)


@pytest.mark.parametrize("name", SMALLER)
def test_what_less_ram_costs_is_foretold(shared: Path, name: str) -> None:
    need_tool(*missing(load_board(BOARD)))
    file = shared / BENCH[name]["file"]
    counts = []
    for goal in ("min-time", "min-ram"):
        found = tinymill.run(file, target=BOARD, plan=goal, layers=False)  # type: ignore[arg-type]
        assert found.instructions is not None
        counts.append(found.instructions)
    whole, small = (planned(file, BOARD, goal).cost for goal in ("min-time", "min-ram"))
    counted, modelled = counts[1] - counts[0], small - whole
    slack = SLACK * counts[0]
    low, high = sorted((counted / EXTRA, counted * EXTRA))
    assert low - slack <= modelled <= high + slack
    if abs(counted) > slack:
        assert counted * modelled > 0


def test_turns_cost_no_less_than_all_at_once(shared: Path) -> None:
    plan = planned(shared / BENCH["kws_ref_model.tflite"]["file"], BOARD, "min-time")
    for step in plan.steps:
        whole = cost_of(step, [step.height])
        single = cost_of(step, [1] * step.height)
        assert whole > 0
        if step.height > 1:
            assert single >= 0.98 * whole, step.kernel.name


def test_every_kernel_has_a_cost() -> None:
    class Named:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

    for kernel in kernel_table():
        rates = rates_of(Named(kernel))  # type: ignore[arg-type]
        assert rates.instructions and min(rates.instructions.values()) >= 0
        if kernel.folder in ("dsp", "mve"):
            assert rates.exact, kernel.name


def test_asking_again_is_fast(shared: Path) -> None:
    plan = planned(shared / BENCH["vww_96_int8.tflite"]["file"], BOARD, "min-time")
    steps = [(step, [1] * step.height) for step in plan.steps]
    first = [cost_of(step, turns) for step, turns in steps]
    begin = time.process_time()
    for _ in range(100):
        again = [cost_of(step, turns) for step, turns in steps]
    assert again == first
    assert time.process_time() - begin < 100 * len(steps) * 50e-6


def test_a_step_can_be_pickled_after_it_was_priced(shared: Path) -> None:
    step = planned(shared / BENCH["ad01_int8.tflite"]["file"], BOARD, "min-time").steps[0]
    cost = cost_of(step, [step.height])
    again = pickle.loads(pickle.dumps(step))
    assert cost_of(again, [again.height]) == cost
