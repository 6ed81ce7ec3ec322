"""Plans by budget and by file: ``--ram``, saved and edited plan.json, and what can't be."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from test_baselines import baselines

import tinymill
from conftest import ROOT, need_tool
from tinymill.boards import load_board
from tinymill.cli import main
from tinymill.deploy import missing
from tinymill.errors import InvalidInput, OutOfMemory, TinymillError
from tinymill.schedule import Plan

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
BOARD = "mps2-an386"


@cache
def planned(goal: str, stream: bool = False) -> Plan:
    return tinymill.compile(MODEL, target=BOARD, plan=goal, stream_input=stream).plan


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "project"
    tinymill.compile(MODEL, target=BOARD, plan="balanced", output=folder)
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a refused compilation, which must leave nothing."""
    with pytest.raises(SystemExit) as ended:
        main(["compile", str(MODEL), "--target", BOARD, *map(str, arguments)])
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == ""
    # behind the usage where an option is wrong
    assert len(said.err.splitlines()) <= 4 and "Traceback" not in said.err
    return said.err


# -- budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [10_600, 13_000, 17_000, 24_000])
def test_a_budget_is_kept(budget: int) -> None:
    need_tool(*missing(load_board(BOARD)))
    found = tinymill.run(MODEL, target=BOARD, ram=budget, layers=False)
    assert found.ram.total <= budget
    assert found.output_crc32 == tinymill.run(MODEL).output_crc32
    assert found.ram.arena <= planned("min-time").arena_bytes


def test_more_ram_is_never_slower() -> None:
    costs = [
        tinymill.compile(MODEL, target=BOARD, ram=budget).plan.cost
        for budget in (10_700, 12_000, 14_000, 16_000, 20_000, 30_000)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == planned("min-time").cost < costs[0]


def test_a_budget_on_the_host_counts_no_stack() -> None:
    least = tinymill.compile(MODEL, plan="min-ram").plan
    found = tinymill.compile(MODEL, ram=least.arena_bytes + 8).plan
    assert found.arena_bytes <= least.arena_bytes + 4


def test_a_budget_too_small_says_what_would_help(shared: Path) -> None:
    file = shared / baselines()["vww_96_int8.tflite"]["file"]
    with pytest.raises(OutOfMemory) as raised:
        tinymill.compile(file, target=BOARD, ram=25_000)
    error = raised.value
    assert error.available == 25_000 < error.needed < 36_000
    # the first layers, by name
    assert error.at is not None and "conv" in error.at
    assert error.hint is not None and "--stream-input" in error.hint
    with pytest.raises(OutOfMemory) as raised:
        tinymill.compile(file, target=BOARD, ram=4_000)
    assert raised.value.hint is not None and "smaller input" in raised.value.hint


def test_budgets_that_cant_be_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refused(capsys, "--ram", 5000, "--output", tmp_path / "project")
    assert "needs" in said and "5,000" in said and "Conv2D '" in said
    assert not (tmp_path / "project").exists()
    assert "Invalid value for '--ram'" in refused(
        capsys, "--ram", 0, "--output", tmp_path / "project"
    )
    assert "Invalid value for '--ram'" in refused(
        capsys, "--ram", "much", "--output", tmp_path / "project"
    )


def test_a_plan_that_does_not_fit_the_board_names_the_one_that_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        main(["compile", str(MODEL), "--target", "microbit", "--output", str(tmp_path / "p")])
    said = capsys.readouterr().err
    assert "--plan min-ram" in said
    assert not (tmp_path / "p").exists()


def test_what_is_missing_is_told_to_some_bytes(tmp_path: Path) -> None:
    """The stack is that of the plan's code, not one set aside; so little is refused that fits."""
    need_tool(*missing(load_board(BOARD)))
    least = tinymill.run(MODEL, target=BOARD, plan="min-ram", layers=False).ram.total
    assert tinymill.compile(MODEL, target=BOARD, ram=least + 200).plan.cost > 0
    with pytest.raises(OutOfMemory) as raised:
        tinymill.compile(MODEL, target=BOARD, ram=5_000)
    assert least <= raised.value.needed + 8 and raised.value.needed <= least + 200


def test_copied_weights_count(shared: Path) -> None:
    need_tool(*missing(load_board(BOARD)))
    more: Any = {"target": BOARD, "weights": "ram", "layers": False}
    with pytest.raises(OutOfMemory):
        tinymill.run(MODEL, ram=100_000, **more)
    assert tinymill.run(MODEL, ram=120_000, **more).ram.total <= 120_000


@pytest.mark.parametrize(
    "wrong",
    [{"ram": "x"}, {"ram": 0}, {"ram": True}, {"fast_ram": -1}, {"step": 1.5}, {"plan": None},
     {"plan": [1]}, {"stream_input": True, "keep_inputs": True}],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_of_the_call(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        tinymill.compile(MODEL, **wrong)


def test_a_step_in_two_memories(shared: Path) -> None:
    need_tool(*missing(load_board(BOARD)))
    file = shared / baselines()["str_ww_ref_model.tflite"]["file"]
    more: Any = {"target": BOARD, "step": 1, "layers": False}
    whole = tinymill.run(file, **more)
    split = tinymill.run(file, fast_ram=600, **more)
    assert split.output_crc32 == whole.output_crc32


# -- plans from files ---------------------------------------------------------------------------


def test_a_saved_plan_gives_the_same_c(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    tinymill.compile(MODEL, target=BOARD, plan=saved / "plan.json", output=again)
    names = sorted(p.relative_to(saved) for p in saved.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for name in names:
        if name.name != "plan.json":
            assert (again / name).read_bytes() == (saved / name).read_bytes(), name
    first, second = (json.loads((f / "plan.json").read_text()) for f in (saved, again))
    assert second["plan"] == "saved" and first["plan"] == "balanced"
    assert second["schedule"] == first["schedule"]


def edited(saved: Path, change: Callable[[list[dict[str, Any]]], Any], to: Path) -> Path:
    description = json.loads((saved / "plan.json").read_text())
    description["schedule"] = copy.deepcopy(description["schedule"])
    other = change(description["schedule"])
    if other is not None:
        description["schedule"] = other
    to.write_text(json.dumps(description))
    return to


def streamed(schedule: list[dict[str, Any]]) -> dict[str, Any]:
    return next(entry for entry in schedule if entry["rows"] and len(entry["layers"]) > 1)


def whole(schedule: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"layers": [name], "rows": 0} for entry in schedule for name in entry["layers"]]


def test_an_edited_plan_is_taken(saved: Path, tmp_path: Path) -> None:
    def coarser(schedule: list[dict[str, Any]]) -> None:
        streamed(schedule)["rows"] = 3

    host = tinymill.run(MODEL).output_crc32
    path = edited(saved, coarser, tmp_path / "plan.json")
    assert tinymill.run(MODEL, plan=path).output_crc32 == host
    path = edited(saved, whole, tmp_path / "whole.json")
    found = tinymill.compile(MODEL, target=BOARD, plan=path).plan
    assert found.arena_bytes == planned("min-time").arena_bytes
    assert found.cost == planned("min-time").cost


WRONG: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "another name": (lambda s: s[0]["layers"].__setitem__(0, "nobody"), "'nobody' where the model"),
    "another order": (lambda s: streamed(s)["layers"].reverse(), "where the model has"),
    "a layer left out": (lambda s: s[-1]["layers"].pop(), "names no layers|ends before|needs rows"),
    "the end left out": (lambda s: s[:-1], "ends before layer"),
    "a layer too many": (lambda s: s[-1]["layers"].append("more"), "goes beyond"),
    "rows below zero": (lambda s: s[0].__setitem__("rows", -1), "rows of segment 0.*-1"),
    "rows of text": (lambda s: s[0].__setitem__("rows", "4"), "rows of segment 0"),
    "rows, many": (lambda s: s[0].__setitem__("rows", 10**30), "rows of segment 0"),
    "rows, true": (lambda s: s[0].__setitem__("rows", True), "rows of segment 0"),
    "no rows": (lambda s: streamed(s).__setitem__("rows", 0), "needs rows > 0"),
    "a wrong key": (lambda s: s[0].__setitem__("speed", 9), "unknown key 'speed'"),
    "cuts of text": (lambda s: s[0].__setitem__("cut_rows", "4"), "no list"),
    "cuts out of order": (lambda s: s[0].__setitem__("cut_rows", [9, 4]), "cut"),
    "cuts outside": (lambda s: s[0].__setitem__("cut_columns", [4000]), "cut"),
    "a cut at nothing": (lambda s: s[0].__setitem__("cut_columns", [0]), "cut"),
    "lazy beyond": (lambda s: streamed(s).__setitem__("lazy", 99), "lazy"),
    "no list": (lambda s: {"layers": []}, "has no schedule"),
    "no objects": (lambda s: [1, 2], "names no layers"),
    "all at once": (
        lambda s: [{"layers": [n for e in s for n in e["layers"]], "rows": 1}],
        "segment 0|can't take turns|row by row|whole",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_plan_edited_wrongly_is_refused(name: str, saved: Path, tmp_path: Path) -> None:
    change, message = WRONG[name]

    def changed(schedule: list[dict[str, Any]]) -> Any:
        result = change(schedule)
        return result if isinstance(result, list | dict) and name in (
            "the end left out", "no list", "no objects", "all at once"
        ) else None  # fmt: skip

    path = edited(saved, changed, tmp_path / "plan.json")
    with pytest.raises(TinymillError, match=message):
        tinymill.compile(MODEL, target=BOARD, plan=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no JSON"), (b"{", "no JSON"), (b"\xff\xfe", "no JSON"), (b"[]", "no schedule"),
        (b"{}", "no schedule"), (b"[" * 100_000, "no JSON"), (b'{"schedule": null}', "no schedule"),
        (b'{"schedule": []}', "ends before layer"),
    ],
)  # fmt: skip
def test_files_that_are_no_plan(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message) as raised:
        tinymill.compile(MODEL, plan=path)
    assert str(path) in str(raised.value)


def test_other_mistakes_with_plans_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, saved: Path
) -> None:
    output = "--output", tmp_path / "project"
    assert "No such file" in refused(capsys, "--plan", tmp_path / "none.json", *output)
    assert "not one of min-time" in refused(capsys, "--plan", "fastest", *output)
    (tmp_path / "folder.json").mkdir()
    assert "directory" in refused(capsys, "--plan", tmp_path / "folder.json", *output)
    said = refused(capsys, "--plan", saved / "plan.json", "--ram", 20_000, *output)
    assert "leave out --plan" in said
    assert not (tmp_path / "project").exists()


def test_a_plan_of_another_model_is_refused(saved: Path, shared: Path) -> None:
    other = shared / "models" / "tflm" / "person_detect.tflite"
    with pytest.raises(InvalidInput, match="where the model has"):
        tinymill.compile(other, target=BOARD, plan=saved / "plan.json")
