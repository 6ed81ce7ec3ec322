"""Least RAM of the benchmark models, everything counted, on a simulated Cortex-M4."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from test_baselines import ARM, baselines

import tinymill
from conftest import ROOT, need_tool

BOARD = "mps2-an386"
COUNTED = json.loads((ROOT / "benchmarks" / "results.json").read_text())["models"]

# file -> most bytes of ram.total with min-ram, and with a streamed input
MOST: dict[str, tuple[int, int | None]] = {
    "pretrainedResnet_quant.tflite": (22_500, 20_500),
    "kws_ref_model.tflite": (12_000, None),
    "vww_96_int8.tflite": (36_000, 18_000),
    "person_detect.tflite": (20_500, 16_500),
    "str_ww_ref_model.tflite": (7_000, None),
    "vww.tflite": (29_000, 20_000),
    "detection.tflite": (92_000, 60_000),
    "mcunet-5fps_int8_qdq.onnx": (66_000, 40_000),
    "mobilenet_v2_1.0_224_quant.tflite": (250_000, 136_000),
}
LARGE = {"mobilenet_v2_1.0_224_quant.tflite": {"optimize": "size"}}
"""The weights of this one don't fit the board when they are widened."""
DEARER = 1.08
"""What least RAM may cost in instructions, against least time."""
DISTINCT = 5
CASES = [
    pytest.param(name, stream, id=f"{name}{'-streamed' if stream else ''}")
    for name, bars in MOST.items()
    for stream in (False, True)
    if bars[stream] is not None
]


@pytest.mark.parametrize(("name", "stream"), CASES)
def test_ram(name: str, stream: bool, shared: Path, tmp_path: Path) -> None:
    need_tool(*ARM)
    (file,) = (shared / "models").rglob(name)
    more: dict[str, Any] = LARGE.get(name, {})
    project = tmp_path / "project"
    plan = tinymill.compile(
        file, target=BOARD, plan="min-ram", stream_input=stream, output=project, **more
    ).plan
    found = tinymill.run(project, layers=False)
    most = MOST[name][stream]
    assert most is not None and found.ram.total <= most
    assert found.ram.arena == plan.arena_bytes
    # nothing is computed twice
    assert plan.macs == sum(s.node.op.macs(plan.graph.node_types(s.node)) for s in plan.layers)
    if name in baselines():
        entry = baselines()[name]
        assert found.output_crc32 == entry.get("output_crc32_int8", entry["output_crc32"])
    if name in COUNTED and not stream:
        whole = COUNTED[name]["cores"]["m4"]["instructions"]
        assert found.instructions is not None and found.instructions <= DEARER * whole


def test_the_front_has_many_plans(shared: Path) -> None:
    (file,) = (shared / "models").rglob("vww.tflite")
    front = tinymill.front(file, target=BOARD)
    assert len(front) >= DISTINCT
    for faster, smaller in itertools.pairwise(front):
        assert smaller.arena_bytes < faster.arena_bytes and smaller.cost > faster.cost
