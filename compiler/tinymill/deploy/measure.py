"""Builds a project, runs it and gives outputs and figures: what the api calls."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tinymill.boards import Board
from tinymill.deploy import cycles as cycle_counts
from tinymill.deploy import host, qemu
from tinymill.deploy.build import build
from tinymill.deploy.process import Ended, Halt, last_words
from tinymill.deploy.size import Sizes, object_sizes, program_sizes
from tinymill.errors import BoardError, OutOfMemory, ToolFailed

TIMEOUT = 600.0
"""Seconds that a run may take."""


@dataclass(frozen=True)
class OnBoard:
    """Cycles that a board counted, of the first inference and of each of its layers; None where
    they weren't counted. ``counter`` is what counted them, ``note`` why none or another one than
    the board's file names; ``clock_hz`` the core's clock, 0 where it is not known."""

    cycles: int | None
    layers: tuple[int, ...] | None
    counter: str | None
    note: str | None
    clock_hz: int


@dataclass(frozen=True)
class Measurement:
    """What a run gave. Memory is in bytes, harness code and data not counted."""

    outputs: bytes
    """The outputs of all frames, one after the other."""
    status: int
    """The model's status of the last call made; 0 is TM_OK."""
    instructions: int | None
    """Of the first inference, exact, from a build without TM_PROFILE; None on the host."""
    layer_instructions: tuple[int, ...] | None
    """Of each layer in the first inference, where asked for and counted."""
    front_instructions: int | None
    """Of the front end until the first inference, where there is one and layers are counted."""
    cycles: int | None
    """Of the first inference, an estimate, where asked for."""
    layer_cycles: tuple[int, ...] | None
    """Of each layer, an estimate, where asked for with the layers' instructions."""
    instruction_classes: Mapping[str, int] | None
    """Instructions of each kind in the first inference, where cycles are asked for."""
    stack: int | None
    """Peak below the frame that calls the model, over all frames; None under sanitizers."""
    static: int
    """The context and the variables of the model and of the libraries it uses."""
    arena: int
    code: int
    """Flash for code, constants and initial values, those of the libraries used included."""
    weights: int
    on_board: OnBoard | None = None
    """What a real board counted."""
    step_instructions: tuple[int, ...] = ()
    """Of each step of training, where steps were taken and are counted."""
    trained_crc32: int | None = None
    """Of the trained part behind the last step."""


@dataclass(frozen=True)
class _Report:
    figures: dict[str, int]
    layers: tuple[int, ...]
    outputs: bytes
    steps: tuple[int, ...] = ()
    estimate: cycle_counts.Estimate | None = None


def measure(
    project: Path,
    board: Board,
    frames: bytes,
    *,
    model: str,
    profile: bool = False,
    cycles: bool = False,
    cc: str | None = None,
    sanitize: bool = False,
    timeout: float = TIMEOUT,
    train: bool = False,
) -> Measurement:
    """Builds ``project`` for ``board`` in a temporary folder and runs it on ``frames`` (each
    frame all inputs one after the other).

    ``profile`` also counts instructions per layer, in a second build run beside the first;
    where that one alone does not fit into the board's memory, they are None. ``cycles``
    estimates cycles too (see ``cycles.py``), on the cores whose costs are known. ``cc`` is the
    compiler, ``timeout`` the seconds a run may take before it is killed. With ``train`` a frame is
    a step of training: all inputs, then the label (int32) and the rate (float32); its output is the
    loss, the layers are those of the step, the figures those of the first one. Raises
    ``ToolMissing``, ``ToolFailed``, ``OutOfMemory``, ``BoardError``.
    """
    if not board.is_host and board.simulator is None:
        raise BoardError(
            f"{board.name} has no simulator to run in", hint="tinymill flash writes the board"
        )
    if cycles:
        cycle_counts.check(board)
    try:
        return _measure(
            project,
            board,
            frames,
            model=model,
            profile=profile,
            cycles=cycles,
            cc=cc,
            sanitize=sanitize,
            timeout=timeout,
            train=train,
        )
    except OSError as error:
        raise ToolFailed(
            f"the temporary folder can't be used: {error.strerror}", at=error.filename
        ) from None


def _measure(
    project: Path,
    board: Board,
    frames: bytes,
    *,
    model: str,
    profile: bool,
    cycles: bool,
    cc: str | None,
    sanitize: bool,
    timeout: float,
    train: bool,
) -> Measurement:
    capabilities = host.CAPABILITIES if board.is_host else qemu.CAPABILITIES
    profile = profile and "layers" in capabilities
    halt = Halt()
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        folder = Path(name)
        plugin = None
        if cycles and board.simulator is not None:
            plugin = cycle_counts.compile_plugin(board.simulator, folder, halt)

        def attempt(kind: str, profiled: bool) -> tuple[Path, _Report]:
            build_folder = folder / kind
            build_folder.mkdir()
            program = build(
                project,
                board,
                build_folder,
                model=model,
                profile=profiled,
                cc=cc,
                sanitize=sanitize,
                train=train,
                halt=halt,
            )
            run_folder = folder / f"{kind}-run"
            if plugin is None:
                return program, _run(program, board, frames, run_folder, timeout, halt)
            listing = cycle_counts.list_program(program, halt)
            # relative to the folder of the run: no comma or blank in a path disturbs QEMU
            more = cycle_counts.plugin_option(listing, model, f"../{plugin.name}")
            report = _run(program, board, frames, run_folder, timeout, halt, more)
            rows = cycle_counts.read_counts(run_folder / cycle_counts.COUNTS)
            found = cycle_counts.estimate(rows, listing, board.core)
            return program, replace(report, estimate=found)

        with ThreadPoolExecutor(max_workers=2) as pool:
            try:
                plain = pool.submit(attempt, "plain", False)
                profiled = pool.submit(attempt, "profile", True) if profile else None
                program, report = plain.result()
                layers = layer_cycles = front = None
                if profiled is not None:
                    try:
                        second = profiled.result()[1]
                    except OutOfMemory:
                        second = None
                    if second is not None:
                        layers = second.layers
                        front = second.figures.get("front")
                        layer_cycles = _layer_cycles(second)
            except BaseException:
                halt.stop()
                raise
        sizes = _sizes(program, board, model)
    figures = report.figures
    found = report.estimate
    if found is not None and found.instructions != figures.get("instructions"):
        raise ToolFailed(
            f"the plugin counted {found.instructions:,} instructions, the timer "
            f"{figures.get('instructions', 0):,}",
            at=board.name,
        )
    return Measurement(
        outputs=report.outputs,
        status=figures["status"],
        instructions=figures.get("instructions"),
        layer_instructions=layers,
        front_instructions=front,
        cycles=None if found is None else found.cycles,
        layer_cycles=layer_cycles,
        instruction_classes=None if found is None else found.classes,
        stack=figures.get("stack"),
        static=figures["context"] + sizes.variables,
        arena=figures["arena"],
        code=sizes.code,
        weights=sizes.weights,
        step_instructions=report.steps,
        trained_crc32=figures.get("trained_crc32"),
    )


def _layer_cycles(report: _Report) -> tuple[int, ...] | None:
    """Cycles of each layer; what runs behind the last hook belongs to none. A front end's hooks
    stand between them, and so there are none with one."""
    if (
        "front" in report.figures
        or report.estimate is None
        or len(report.estimate.layers) < len(report.layers)
    ):
        return None
    return report.estimate.layers[: len(report.layers)]


def _sizes(program: Path, board: Board, model: str) -> Sizes:
    if board.is_host:
        objects = program.parent / "model"
        return object_sizes(objects / f"{model}.o", objects / f"{model}_weights.o")
    return program_sizes(program)


def _run(
    program: Path,
    board: Board,
    frames: bytes,
    folder: Path,
    timeout: float,
    halt: Halt,
    more: tuple[str, ...] = (),
) -> _Report:
    folder.mkdir()
    (folder / "input.bin").write_bytes(frames)
    if board.simulator is None:
        ended = host.run(program, folder, timeout=timeout, halt=halt)
    else:
        ended = qemu.run(board.simulator, program, folder, timeout=timeout, halt=halt, more=more)
    return parse_report(ended, folder / "output.bin", board.name)


def parse_report(ended: Ended, output: Path, where: str) -> _Report:
    """The harness's figures; ``ToolFailed`` if the program did not come to its end."""
    figures: dict[str, int] = {}
    layers: list[int] = []
    steps: list[int] = []
    complete = False
    for line in ended.text.splitlines():
        words = line.split()
        if words[:1] == ["error"]:
            raise ToolFailed(" ".join(words[1:]), at=where)
        if words == ["end"]:
            complete = True
        elif len(words) == 2 and words[1].isdecimal():
            figures[words[0]] = int(words[1])
        elif len(words) == 3 and words[0] == "layer" and words[2].isdecimal():
            layers.append(int(words[2]))
        elif len(words) == 3 and words[0] == "step" and words[2].isdecimal():
            steps.append(int(words[2]))
    if not complete or not {"status", "context", "arena"} <= figures.keys() or ended.code != 0:
        raise ToolFailed(
            f"the program ended early with code {ended.code}: {last_words(ended.text)}", at=where
        )
    return _Report(figures, tuple(layers), output.read_bytes(), tuple(steps))
