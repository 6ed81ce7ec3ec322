"""A model and a step of its training as one project."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..boards import Board
from ..deploy import Forecast, measure, target_files
from ..deploy import forecast as forecast_of
from ..emit import ModelFacts, Training, c_name, facts_of, render
from ..errors import InvalidInput, OutOfMemory, ToolFailed
from ..fit import plan_within
from ..ir import Graph, print_graph
from ..project import PLAN
from ..schedule import Goal, Optimize, Plan, Planner, changed_by
from .compiling import MOST_RAM, Compiled
from .description import describe
from .lowering import tuned
from .running import Flash, LayerTime, Ram


@dataclass(frozen=True)
class Trainable(Compiled):
    """A model with a step of training as C for one board; ``step`` is the step's plan."""

    step: Plan

    def forecast(self) -> Forecast | None:
        """Code flash and stack as the board's compiler tells them; None where it is missing."""
        found = forecast_of(self.files, self.board, self.name)
        if found is None or found.stack is None:
            return found
        pushed = max(self.plan.pushed_bytes, self.step.pushed_bytes)
        return Forecast(found.code, found.stack + pushed)

    @property
    def arena_bytes(self) -> int:
        """Of the one arena for both."""
        return max(self.plan.arena_bytes, self.step.arena_bytes)


def digest_of(graph: Graph) -> int:
    """What tells a model from others: its graph, its constants, first values of its variables."""
    crc = zlib.crc32(print_graph(graph).encode())
    for values in (graph.constants, graph.variables):
        for name in sorted(values):
            crc = zlib.crc32(np.ascontiguousarray(values[name]).tobytes(), crc)
    return crc


def compile_trainable(
    run: Graph,
    step: Graph,
    classes: int,
    learned: Sequence[str],
    *,
    board: Board,
    name: str,
    plan: Goal = "min-ram",
    ram: int | None = None,
    optimize: Optimize = "time",
    source: str = "",
) -> Trainable:
    """The C of a model and of a step of its training, graphs that passes have lowered.

    ``plan`` is that of the step; ``ram`` instead asks for its fastest within so many bytes of RAM
    in all: arena, variables, stack. A run gets the fastest plan within the step's arena.

    ``step`` has the inputs of ``run``, then a label (int32) and a rate (float32); its first output
    is the loss (float32). Variables of both are the same; ``learned`` are the trained weights and
    biases, in the order of their crc32. ``name`` becomes the prefix of C names,
    ``source`` is the file's name for plan.json. Raises ``CompileError`` and its kin.
    """
    board = tuned(board, optimize)
    prefix = c_name(name)
    runs, steps = (Planner(graph, board.features, optimize=optimize) for graph in (run, step))
    digest = digest_of(step)

    def beside(second: Plan) -> Plan:
        return runs.within(second.arena_bytes) or runs.plan("min-ram")

    def files_of(first: Plan, second: Plan) -> tuple[ModelFacts, dict[str, str]]:
        training = Training(second, classes, digest, tuple(learned))
        facts = facts_of(first, prefix, training=training)
        files = render(facts, first, second)
        return facts, files | target_files(
            board, prefix, arena_bytes=facts.arena_bytes, weights_bytes=facts.weights_bytes
        )

    if ram is None:
        second = steps.plan(plan)
    else:
        second = plan_within(
            steps, ram, board,
            lambda tried: forecast_of(files_of(beside(tried), tried)[1], board, prefix),
        )  # fmt: skip
    first = beside(second)
    facts, files = files_of(first, second)
    needed, most = facts.arena_bytes + facts.state_bytes, MOST_RAM
    if not board.is_host:
        most = sum(region.size for region in board.ram)
    if needed > most:
        raise OutOfMemory(
            f"arena and variables on {board.name}", needed=needed, available=most,
            hint="a scheme that trains less needs less" if plan == "min-ram" else "--plan min-ram",
        )  # fmt: skip
    entries = {
        "weights": "flash", "weights_bytes": facts.weights_bytes,
        "widened_bytes": first.widened_bytes, "io": "quantized", "requant": "exact",
        "optimize": optimize, "plan": plan, "ram": ram, "fast_ram": None, "keep_inputs": False,
        "stream_input": False, "step": None, "window": None, "frontend": None,
    }  # fmt: skip
    described = json.loads(describe(first, board, prefix, source, entries, stream_axis=None))
    of_step = json.loads(describe(second, board, prefix, source, {}, stream_axis=None))
    described["arena"]["bytes"] = facts.arena_bytes
    described["state_bytes"] = facts.state_bytes
    described["training"] = {
        "classes": classes,
        "digest": digest,
        "trained": [_entry(step, each) for each in changed_by(step, learned)],
        "learned": sum(each in learned for each in changed_by(step)),
        "arena": of_step["arena"],
        "schedule": of_step["schedule"],
        "layers": of_step["layers"],
    }
    files[PLAN] = json.dumps(described, indent=1) + "\n"
    return Trainable(prefix, board, first, dict(sorted(files.items())), second)


def _entry(graph: Graph, name: str) -> dict[str, Any]:
    kind = graph.type(name)
    return {
        "name": name, "dtype": kind.dtype.numpy.name, "shape": list(kind.shape),
        "bytes": kind.bytes,
    }  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """What steps of training on a target gave. ``instructions`` are of each step, () on the host;
    ``layers`` are those of the first step."""

    target: str
    losses: np.ndarray
    instructions: tuple[int, ...]
    ram: Ram
    flash: Flash
    layers: tuple[LayerTime, ...]
    trained_crc32: int


def train_project(
    folder: Path,
    description: Mapping[str, Any],
    board: Board,
    inputs: Sequence[bytes],
    labels: Sequence[int],
    rates: Sequence[float],
    *,
    layers: bool = False,
    timeout: float = 600.0,
) -> Trained:
    """Builds a project folder for the host or a simulated board and takes steps of training on it;
    ``inputs`` are the bytes of each step's inputs. Raises what ``measure`` raises."""
    training = description.get("training")
    if not isinstance(training, dict):
        raise InvalidInput("was compiled without training", at=str(folder))
    frames = b"".join(
        x + np.int32(label).tobytes() + np.float32(rate).tobytes()
        for x, label, rate in zip(inputs, labels, rates, strict=True)
    )
    found = measure(
        folder, tuned(board, description.get("optimize", "time")), frames,
        model=description["model"], profile=layers, timeout=timeout, train=True,
    )  # fmt: skip
    if found.status != 0 or found.trained_crc32 is None:
        raise ToolFailed(f"the model answered status {found.status}", at=board.name)
    counts = found.layer_instructions or (None,) * len(training["layers"])
    times = tuple(
        LayerTime(layer["name"], layer["op"], count)
        for layer, count in zip(training["layers"], counts, strict=True)
    )
    return Trained(
        board.name, np.frombuffer(found.outputs, np.float32), found.step_instructions,
        Ram(found.arena, found.static, found.stack), Flash(found.code, found.weights), times,
        found.trained_crc32,
    )  # fmt: skip
