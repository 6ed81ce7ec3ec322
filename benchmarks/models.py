"""Measures the models of shared/baselines.json and writes benchmarks/results.json.

Asserts nothing. For each model and core: instructions of one inference (exact, QEMU), RAM,
flash, and their ratios to TensorFlow Lite Micro with CMSIS-NN on the same model and core.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

import tinymill
from tinymill.errors import TinymillError

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("TINYMILL_SHARED", HERE.parents[1] / "shared"))
CORES = {"m4": "mps2-an386", "m7": "mps2-an500", "m55": "mps3-an547"}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE / "results.json")
    parser.add_argument("--core", choices=CORES, action="append")
    arguments = parser.parse_args()
    models = json.loads((SHARED / "baselines.json").read_text())["models"]
    jobs = [(name, core) for name in models for core in arguments.core or CORES]
    results: dict[str, dict[str, Any]] = {}
    for name, core in track(jobs, description="measuring"):
        found = measure(SHARED / models[name]["file"], core)
        found["baseline"] = models[name].get(core, {}).get("tflm_cmsis_nn")
        found["macs"] = models[name]["macs"]
        results.setdefault(name, {})[core] = found
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    show(results)


def measure(model: Path, core: str) -> dict[str, Any]:
    """Figures of one model on one core, or the error that prevented them."""
    try:
        result = tinymill.run(model, target=CORES[core], input="pattern", layers=False)
    except TinymillError as error:
        return {"error": str(error)}
    return {
        "instructions": result.instructions,
        "ram": result.ram.total,
        "code_flash": result.flash.code,
        "weights_flash": result.flash.weights,
        "output_crc32": result.output_crc32,
    }


def show(results: dict[str, dict[str, Any]]) -> None:
    """The results as a table; ratios are ours to the baseline's."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "core", "instructions", "/MAC", "ratio", "RAM", "ratio", "code"):
        table.add_column(column, justify="left" if column in ("model", "core") else "right")
    for name, cores in results.items():
        for core, found in cores.items():
            if "error" in found:
                table.add_row(name, core, found["error"])
                continue
            base = found["baseline"] or {}
            table.add_row(
                name, core, f"{found['instructions']:,}",
                f"{found['instructions'] / found['macs']:.2f}",
                ratio(found["instructions"], base.get("instructions")),
                f"{found['ram']:,}", ratio(found["ram"], base.get("ram")),
                f"{found['code_flash']:,}",
            )  # fmt: skip
    Console(width=140).print(table)


def ratio(ours: int, theirs: int | None) -> str:
    """ours / theirs as text."""
    return "-" if not theirs else f"{ours / theirs:.2f}"


if __name__ == "__main__":
    main()
