"""``compile``: a model file as C for one board."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from ..boards import Board
from ..deploy import RAM_ALLOWANCE, Forecast, forecast, target_files
from ..emit import ModelFacts, c_name, facts_of, render, with_front
from ..errors import InvalidInput, OutOfMemory, UnsupportedOp
from ..fit import check_arena, planned_by, planned_within
from ..frontends import Bound, FrontEnd, read_model
from ..frontends import load as load_front
from ..ir import Graph, print_graph
from ..passes import BORDERS, Stepped, stepped
from ..project import PLAN, write_project
from ..schedule import Goal, Optimize, Plan, Planner
from .description import describe, front_entry
from .lowering import board_of, lowered, tuned
from .options import CompileOptions, Io, Requant, Weights

MOST_RAM = (1 << 31) - 1
"""Bytes of arena and state together that C's sizes and offsets can express on every target."""


@dataclass(frozen=True)
class Compiled:
    """A model as C for one board: its plan and its files (relative path -> text)."""

    name: str
    board: Board
    plan: Plan
    files: Mapping[str, str]

    def forecast(self) -> Forecast | None:
        """Code flash and stack as the board's compiler tells them; None where it is missing."""
        found = forecast(self.files, self.board, self.name)
        if found is None or found.stack is None:
            return found
        return replace(found, stack=found.stack + self.plan.pushed_bytes)

    @property
    def description(self) -> dict[str, Any]:
        """The content of plan.json."""
        return json.loads(self.files[PLAN])

    def write(self, folder: str | Path) -> None:
        """Writes the project, whole or not at all."""
        write_project(self.files, Path(folder))


def compile(
    model: str | Path,
    *,
    target: str | Path | Board = "host",
    output: str | Path | None = None,
    io: Io = "quantized",
    requant: Requant = "exact",
    optimize: Optimize = "time",
    plan: str | Path = "min-time",
    ram: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
    fast_ram: int | None = None,
    weights: Weights = "flash",
    step: int | None = None,
    frontend: str | Path | None = None,
    name: str | None = None,
    dump_passes: str | Path | None = None,
) -> Compiled:
    """Compiles a model file to C for ``target`` and, with ``output``, writes the project.

    ``optimize`` says whether flash may be spent on time (widened weights, unrolled kernels).
    ``plan`` is a goal ("min-time", "balanced", "min-ram", "patched") or the .json file of a saved
    plan; ``ram`` instead asks for the fastest plan within that many bytes of RAM in all. With
    ``fast_ram`` bytes of the arena lie in a first, fast memory (on a board: its first RAM), the
    rest in a second one; tensors are placed by use. ``weights`` "ram" has start-up code copy the
    constants there. With
    ``stream_input`` the emitted C has ``push_rows`` instead of ``run``. With ``step`` it has
    ``step``: the input is a window over a stream that takes so many new rows (frames) a step, and
    only what they change is computed. ``frontend`` puts the processing of a sensor's data before
    the model: a kind's name or a .toml file.
    ``name`` is the prefix of all C names (default: from the file's name). Raises
    ``CompileError`` and its kin; nothing is written then.
    """
    options = CompileOptions(
        io=io, requant=requant, optimize=optimize, plan=plan, ram=ram, shapes=shapes,
        keep_inputs=keep_inputs, stream_input=stream_input, fast_ram=fast_ram, weights=weights,
        step=step, frontend=frontend,
    )  # fmt: skip
    dump = None if dump_passes is None else Path(dump_passes)
    compiled = compile_file(Path(model), target, options, name=name, dump=dump)
    if output is not None:
        compiled.write(output)
    return compiled


def compile_file(
    source: Path,
    target: str | Path | Board,
    options: CompileOptions,
    *,
    name: str | None = None,
    dump: Path | None = None,
) -> Compiled:
    """A model file as C; ``compile`` tells what is raised."""
    options.check()
    board = board_of(target)
    graph = lowered(read_model(source, shapes=options.shapes), options.io, options.requant, dump)
    return compile_graph(graph, source, board, options, name=name)


def compile_graph(
    graph: Graph, source: Path, board: Board, options: CompileOptions, *, name: str | None = None
) -> Compiled:
    """A graph that the passes have lowered as C; ``source`` is the file it came from."""
    board = tuned(board, options.optimize)
    options.check_kept()
    step, stream_input = options.step, options.stream_input
    if step is not None and options.frontend is not None:
        raise InvalidInput("--step takes rows of the model's input", hint="leave out --frontend")
    front = None
    if options.frontend is not None:
        front = _front_of(graph, options.frontend, stream_input)
    slid = _steps_of(graph, step, stream_input=stream_input)
    sliding = (slid[0].rows, slid[0].window) if slid else None
    planners = [
        Planner(
            form, board.features, keep_inputs=options.keep_inputs, optimize=options.optimize,
            stream_input=stream_input, fast_ram=options.fast_ram,
            front_scratch=0 if front is None else front.scratch_bytes,
        )
        for form in ([each.graph for each in slid] or [graph])
    ]  # fmt: skip
    for each in planners:
        each.may_stream = front is None or _streams(front.front)
    in_ram = options.weights == "ram"
    prefix = c_name(name or source.stem)

    def facts_for(plan: Plan) -> ModelFacts:
        found = facts_of(plan, prefix, weights_in_ram=in_ram, sliding=sliding)
        return with_front(found, plan, front)

    if options.ram is None:
        planner, found = planned_by(planners, options.plan)
    else:
        if options.plan != "min-time":
            raise InvalidInput("a budget of RAM finds its own plan", hint="leave out --plan")
        beside = 0 if front is None else front.state_bytes
        if in_ram:
            beside += facts_for(planners[0].plan("min-time")).weights_bytes

        def foretold(tried: Plan) -> Forecast | None:
            found = facts_for(tried)
            around = target_files(
                board, prefix, arena_bytes=tried.arena_bytes - tried.slow_bytes,
                weights_bytes=found.weights_bytes, slow_bytes=tried.slow_bytes,
            )  # fmt: skip
            return forecast(render(found, tried) | around, board, prefix)

        planner, found = planned_within(planners, options.ram, board, foretold, beside=beside)
    found = _in_two_memories(planner, found, board)
    _check_budgets(planner, found, board)
    _check_state(planners, found, board)
    facts = facts_for(found)
    weights_bytes = facts.weights_bytes
    _check_weights(weights_bytes, board, options.optimize, in_ram=in_ram)
    files = render(facts, found)
    files |= target_files(
        board, prefix, arena_bytes=found.arena_bytes - found.slow_bytes,
        weights_bytes=weights_bytes, slow_bytes=found.slow_bytes,
    )  # fmt: skip
    entries = {
        "weights": options.weights, "weights_bytes": weights_bytes,
        "widened_bytes": found.widened_bytes,
        "io": options.io, "requant": options.requant, "optimize": options.optimize,
        "plan": str(options.plan) if options.plan in get_args(Goal) else "saved",
        "ram": options.ram, "fast_ram": options.fast_ram,
        "keep_inputs": options.keep_inputs, "stream_input": stream_input,
        "step": step, "window": slid[0].window if slid else None,
        "frontend": None if front is None else front_entry(front),
    }  # fmt: skip
    files[PLAN] = describe(
        found, board, prefix, source.name, entries, stream_axis=slid[0].axis if slid else None
    )
    return Compiled(prefix, board, found, dict(sorted(files.items())))


def _steps_of(graph: Graph, step: int | None, *, stream_input: bool) -> list[Stepped]:
    """The graph as a step of so many rows, in all forms that differ; none where none is asked."""
    if step is None:
        return []
    if stream_input:
        raise InvalidInput("--step takes new rows only", hint="leave out --stream-input")
    found: list[Stepped] = []
    refusals: list[UnsupportedOp] = []
    for borders in BORDERS:
        try:
            found.append(stepped(graph, step, borders=borders))
        except UnsupportedOp as error:  # this form may gain nothing where another does
            refusals.append(error)
    if not found:
        raise refusals[0]
    texts = [print_graph(each.graph) for each in found]
    return [each for index, each in enumerate(found) if texts[index] not in texts[:index]]


def _front_of(graph: Graph, spec: str | Path, stream_input: bool) -> Bound:
    """The front end before the model's only input. Raises ``InvalidInput``."""
    front = load_front(spec)
    if len(graph.inputs) != 1:
        raise InvalidInput(f"a front end for a model of {len(graph.inputs)} inputs", at=str(spec))
    if stream_input and not _streams(front):
        raise InvalidInput(
            f"{front.kind} gives windows that overlap, no rows of an input that comes in rows",
            at=str(spec), hint="leave out --stream-input",
        )  # fmt: skip
    port = graph.inputs[0]
    kind = graph.type(port.value)
    name = f"input '{port.name}'"
    return front.bind(kind, at=name)


def _streams(front: FrontEnd) -> bool:
    """Whether a front end gives the rows of an input one by one, each once."""
    return front.kind == "image"


def _in_two_memories(planner: Planner, found: Plan, board: Board) -> Plan:
    """The plan split over the first RAM and another, where the board has none for it whole."""
    if board.is_host or planner.fast_ram is not None or len(board.ram) < 2:
        return found
    if found.arena_bytes <= max(region.size for region in board.ram):
        return found
    planner.fast_ram = max(0, board.ram[0].size - RAM_ALLOWANCE)
    planner.slow_ram = max(region.size for region in board.ram[1:])
    split = planner.realise(found.choices)
    return split if split.slow_bytes <= planner.slow_ram else found


def _check_budgets(planner: Planner, found: Plan, board: Board) -> None:
    check_arena(planner, found, ram=MOST_RAM, where=board.name)
    if found.state_bytes > MOST_RAM:
        raise OutOfMemory(f"state on {board.name}", needed=found.state_bytes, available=MOST_RAM)
    if not board.is_host:
        largest = max(region.size for region in board.ram)
        if found.slow_bytes:
            largest = sum(region.size for region in board.ram)
        check_arena(planner, found, ram=largest, where=board.name)


def _check_state(planners: Sequence[Planner], found: Plan, board: Board) -> None:
    """Raises ``OutOfMemory`` where arena and state together are more than a board has."""
    needed = found.arena_bytes + found.state_bytes
    available = sum(region.size for region in board.ram)
    if board.is_host or not found.state_bytes or needed <= available:
        return
    _, small = planned_by(planners, "min-ram")
    least = small.arena_bytes + small.state_bytes
    hint = f"--plan min-ram needs {least:,} bytes" if least < needed else None
    raise OutOfMemory(
        f"arena and state on {board.name}", needed=needed, available=available, hint=hint
    )


def _check_weights(weights: int, board: Board, optimize: str, *, in_ram: bool) -> None:
    flash = sum(region.size for region in board.flash)
    if board.is_host:
        return
    if weights > flash:
        hint = "--optimize size widens none but depthwise weights" if optimize == "time" else None
        raise OutOfMemory(f"weights on {board.name}", needed=weights, available=flash, hint=hint)
    # initialised variables lie in the first RAM
    ram = board.ram[0].size
    if in_ram and weights > ram:
        raise OutOfMemory(
            f"weights in the RAM of {board.name}", needed=weights, available=ram,
            hint="--weights flash leaves them where they are",
        )  # fmt: skip
