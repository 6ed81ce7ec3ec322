"""The regression guard: counts are those of benchmarks/results.json, which `make bench` writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tinymill
from conftest import ROOT, absent, need_tool, shared_folder
from tinymill.boards import load_board
from tinymill.deploy import missing

RESULTS = ROOT / "benchmarks" / "results.json"
MOST_PERCENT = 2
"""By how much a count may differ from the committed one, either way."""
AGAIN = "run `make bench` and commit what it writes"

BENCH = json.loads(RESULTS.read_text(encoding="utf-8"))
CASES = [(name, core) for name, model in BENCH["models"].items() for core in model["cores"]]


def change(measured: int | None, committed: int) -> str | None:
    """What is wrong with a figure, else None."""
    assert measured is not None
    if abs(measured - committed) * 100 <= MOST_PERCENT * committed:
        return None
    share = measured / committed - 1
    if share > 0:
        return f"{measured:,}, {share:.1%} more than the committed {committed:,}"
    return f"{measured:,}, {-share:.1%} less than the committed {committed:,}: {AGAIN}"


def same_compilers() -> None:
    """Another compiler counts otherwise: skips (in CI: fails)."""
    for name, version in BENCH["compilers"].items():
        need_tool(name)
        said = subprocess.run(
            [name, "-dumpfullversion"], capture_output=True, text=True, check=True
        )
        if said.stdout.strip() != version:
            absent(f"results.json was measured with {name} {version}; {AGAIN}")


@pytest.mark.parametrize(("model", "core"), CASES)
def test_counts_are_the_committed_ones(shared: Path, model: str, core: str) -> None:
    entry = BENCH["models"][model]
    committed: dict[str, Any] = entry["cores"][core]
    assert "error" not in committed, f"{committed['error']}: {AGAIN}"
    need_tool(*missing(load_board(committed["target"])))
    same_compilers()
    cycles = "cycles_estimate" in committed
    found = tinymill.run(
        shared / entry["file"], target=committed["target"], layers=False, cycles=cycles
    )
    figures = {"instructions": found.instructions}
    if cycles:
        figures["cycles_estimate"] = found.cycles_estimate
    for name, count in figures.items():
        problem = change(count, committed[name])
        if problem is not None:
            pytest.fail(f"{model} on {core}: {name} {problem}", pytrace=False)
    assert found.output_crc32 == committed["output_crc32"]


def test_every_model_and_core_is_guarded(shared: Path) -> None:
    baselines = json.loads((shared_folder() / "baselines.json").read_text())["models"]
    assert set(BENCH["models"]) == set(baselines), AGAIN
    cores = {"m4", "m7", "m55", "m3", "rv32"}
    assert all(set(model["cores"]) == cores for model in BENCH["models"].values()), AGAIN


def test_the_guard_catches_both_directions() -> None:
    assert change(1000, 1000) is None and change(1020, 1000) is None and change(980, 1000) is None
    assert "2.1% more" in str(change(1021, 1000))
    assert "make bench" in str(change(979, 1000))


def bench(script: str, *arguments: str | Path) -> str:
    call = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_models_are_benchmarked(shared: Path, tmp_path: Path) -> None:
    need_tool(*missing(load_board("mps2-an385")))
    output = tmp_path / "results.json"
    said = bench("models.py", "--core", "m3", "--model", "ad01", "--output", output, "--no-plot")
    found = json.loads(output.read_text())["models"]["ad01_int8.tflite"]
    figures = found["cores"]["m3"]
    assert figures["per_mac"] == pytest.approx(figures["instructions"] / found["macs"], abs=1e-4)
    assert figures["ratio"] == pytest.approx(
        figures["instructions"] / figures["baseline"]["instructions"], abs=1e-4
    )
    assert figures["baseline"]["library"] == "tflm_reference"
    assert f"{figures['instructions']:,}" in said


@pytest.mark.parametrize("rescale", ["fixed", "float"])
def test_kernels_are_benchmarked(tmp_path: Path, rescale: str) -> None:
    need_tool(*missing(load_board("mps2-an386")))
    output = tmp_path / "kernels.json"
    arguments = ("--core", "m4", "--family", "dense", "--family", "softmax", "--rescale", rescale)
    bench("kernels.py", *arguments, "--output", output)
    found = json.loads(output.read_text())["kernels"]
    assert {name.split()[0] for name in found} == {"dense", "softmax"}
    row = found["dense 640->128"]["m4"]
    assert row["per_mac"] == round(row["instructions"] / (640 * 128), 3)
    assert row["cycles_estimate"] > row["instructions"]
    assert row["kernel"].startswith("tm_dense")


def test_a_missing_plot_library_is_one_line(tmp_path: Path) -> None:
    text = (
        "import sys, pathlib; sys.modules['matplotlib'] = None; sys.path.insert(0, 'benchmarks'); "
        "import plot; plot.draw({}, pathlib.Path('no.svg'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr.count("\n") == 1
    assert 'pip install "tinymill[bench]"' in done.stderr
