"""Draws results.json: instructions per MAC of every model and core beside the best open library."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TITLES = {
    "m4": "Cortex-M4", "m7": "Cortex-M7", "m55": "Cortex-M55",
    "m3": "Cortex-M3 (theirs: reference kernels, M4)",
    "rv32": "RV32IMC (theirs: reference kernels, M4)",
}  # fmt: skip
OURS, THEIRS = "#1f6f8b", "#c8c8c8"


def draw(models: Mapping[str, Any], path: Path) -> None:
    """Writes the plot to ``path``; one line on stderr where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: PLC0415  an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        print('no plot: matplotlib is missing (pip install "tinymill[bench]")', file=sys.stderr)
        return
    # the same results give the same file
    matplotlib.rcParams |= {"svg.hashsalt": "tinymill", "svg.fonttype": "none"}
    names = sorted(models)
    cores = [core for core in TITLES if any(core in models[name]["cores"] for name in names)]
    figure = Figure(
        figsize=(4.2 * max(1, len(cores)), 0.5 * len(names) + 1.4), layout="constrained"
    )
    axes = figure.subplots(1, len(cores), sharey=True, squeeze=False)[0]
    for axis, core in zip(axes, cores, strict=True):
        found = [models[name]["cores"].get(core, {}) for name in names]
        theirs = [entry.get("baseline", {}).get("per_mac", 0) for entry in found]
        ours = [entry.get("per_mac", 0) for entry in found]
        rows = range(len(names))
        axis.barh([row + 0.2 for row in rows], theirs, 0.38, color=THEIRS, label="best open")
        bars = axis.barh([row - 0.2 for row in rows], ours, 0.38, color=OURS, label="tinymill")
        axis.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
        axis.set_title(TITLES[core], fontsize=10)
        axis.set_xlabel("instructions per MAC")
        axis.set_yticks(list(rows), [Path(name).stem for name in names], fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
