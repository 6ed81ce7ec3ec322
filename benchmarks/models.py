"""Measures the models of shared/baselines.json on every core; writes results.json and a plot.

Asserts nothing (tests/test_benchmarks.py does). For each model and core: instructions of one
inference (exact, in QEMU), a cycle estimate where there is one, RAM, flash, and the ratio to the
best open library on the same model and core; scalar cores are compared with TensorFlow Lite
Micro's reference kernels on a Cortex-M4. See docs/measuring.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

import tinymill
from plot import draw
from tinymill.errors import TinymillError

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("TINYMILL_SHARED", HERE.parents[1] / "shared"))
PROCESSES = 2
OPEN = ("tflm_cmsis_nn", "tinyengine")
REFERENCE = ("tflm_reference",)
COMPILERS = ("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc")


@dataclass(frozen=True)
class Core:
    """Where a core's counts come from, and what they are compared with."""

    target: str
    compared: tuple[str, ...]
    """The cores of the baselines: the first of them that a model has."""
    libraries: tuple[str, ...] = OPEN
    cycles: bool = False


CORES = {
    "m4": Core("mps2-an386", ("m4", "m7"), cycles=True),
    "m7": Core("mps2-an500", ("m7",), cycles=True),
    "m55": Core("mps3-an547", ("m55",)),
    "m3": Core("mps2-an385", ("m4",), REFERENCE),
    "rv32": Core("riscv32-virt", ("m4",), REFERENCE),
}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE / "results.json")
    parser.add_argument("--core", choices=CORES, action="append", help="default: all")
    parser.add_argument("--model", action="append", help="part of a name; default: all")
    parser.add_argument("--no-plot", action="store_true")
    arguments = parser.parse_args()
    models = json.loads((SHARED / "baselines.json").read_text())["models"]
    cores = arguments.core or list(CORES)
    jobs = [
        (name, core)
        for name in models
        for core in cores
        if not arguments.model or any(part in name for part in arguments.model)
    ]
    with ProcessPoolExecutor(PROCESSES) as pool:
        found = pool.map(
            measure, [SHARED / models[n]["file"] for n, _ in jobs], [c for _, c in jobs]
        )
        measured = list(track(found, description="measuring", total=len(jobs)))
    results: dict[str, Any] = {"compilers": compilers(), "models": {}}
    for (name, core), figures in zip(jobs, measured, strict=True):
        model = models[name]
        entry = results["models"].setdefault(
            name, {"file": model["file"], "macs": model["macs"], "cores": {}}
        )
        entry["cores"][core] = with_baseline(figures, model, CORES[core])
    write(results, arguments.output)
    show(results["models"])
    if not arguments.no_plot:
        draw(results["models"], arguments.output.with_suffix(".svg"))


def write(results: Mapping[str, Any], path: Path) -> None:
    """Writes results as JSON, sorted, the innermost objects on a line each."""
    text = json.dumps(results, indent=1, sort_keys=True)
    text = re.sub(r"\{[^{}]*\}", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    path.write_text(text + "\n")


def measure(model: Path, core: str) -> dict[str, Any]:
    """Figures of one model on one core, or the error that prevented them."""
    place = CORES[core]
    try:
        result = tinymill.run(
            model, target=place.target, input="pattern", layers=False, cycles=place.cycles
        )
    except TinymillError as error:
        return {"target": place.target, "error": str(error)}
    found: dict[str, Any] = {
        "target": place.target,
        "instructions": result.instructions,
        "ram": result.ram.total,
        "flash_code": result.flash.code,
        "flash_weights": result.flash.weights,
        "output_crc32": result.output_crc32,
    }
    if result.cycles_estimate is not None:
        found["cycles_estimate"] = result.cycles_estimate
    return found


def with_baseline(found: Mapping[str, Any], model: Mapping[str, Any], core: Core) -> dict[str, Any]:
    """The figures, per MAC and compared with the best of the core's libraries."""
    result = dict(found)
    if "instructions" in found:
        result["per_mac"] = round(found["instructions"] / model["macs"], 4)
    compared = next((name for name in core.compared if name in model), core.compared[0])
    measured = model.get(compared, {})
    known = [(measured[name]["instructions"], name) for name in core.libraries if name in measured]
    if known:
        count, name = min(known)
        best = measured[name]
        result["baseline"] = {
            "library": name, "core": compared, "instructions": count,
            "per_mac": round(count / model["macs"], 4), "ram": best.get("ram"),
        }  # fmt: skip
        if "instructions" in found:
            result["ratio"] = round(found["instructions"] / count, 4)
    return result


def compilers() -> dict[str, str]:
    """The compilers' versions: counts repeat exactly with the same ones only."""
    versions = {}
    for name in COMPILERS:
        try:
            said = subprocess.run(
                [name, "-dumpfullversion"], capture_output=True, text=True, check=True
            )
        except FileNotFoundError:
            continue
        versions[name] = said.stdout.strip()
    return versions


def show(models: Mapping[str, Any]) -> None:
    """The results as a table; the ratio is ours to the baseline's."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        "model", "core", "instructions", "/MAC", "cycles (estimate)", "/MAC", "best open",
        "ratio", "RAM", "ratio", "code", "weights",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column in ("model", "core") else "right")
    for name, model in models.items():
        for core, found in model["cores"].items():
            if "error" in found:
                table.add_row(name, core, found["error"])
                continue
            base = found.get("baseline", {})
            cycles = found.get("cycles_estimate")
            table.add_row(
                name, core, f"{found['instructions']:,}", f"{found['per_mac']:.2f}",
                f"{cycles:,}" if cycles else "-",
                f"{cycles / model['macs']:.2f}" if cycles else "-",
                f"{base['instructions']:,}" if base else "-",
                ratio(found["instructions"], base.get("instructions")),
                f"{found['ram']:,}", ratio(found["ram"], base.get("ram")),
                f"{found['flash_code']:,}", f"{found['flash_weights']:,}",
            )  # fmt: skip
    Console(width=170).print(table)


def ratio(ours: int, theirs: int | None) -> str:
    """ours / theirs as text."""
    return "-" if not theirs else f"{ours / theirs:.2f}"


if __name__ == "__main__":
    main()
