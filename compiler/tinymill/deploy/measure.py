"""Builds a project, runs it and gives outputs and figures: what the api calls."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tinymill.boards import Board
from tinymill.deploy import host, qemu
from tinymill.deploy.build import build
from tinymill.deploy.process import Ended, Halt, last_words
from tinymill.deploy.size import Sizes, object_sizes, program_sizes
from tinymill.errors import BoardError, OutOfMemory, ToolFailed

TIMEOUT = 600.0
"""Seconds that a run may take."""


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
    stack: int | None
    """Peak below the frame that calls the model, over all frames; None under sanitizers."""
    static: int
    """The context and the variables of the model and of the libraries it uses."""
    arena: int
    code: int
    """Flash for code, constants and initial values, those of the libraries used included."""
    weights: int


@dataclass(frozen=True)
class _Report:
    figures: dict[str, int]
    layers: tuple[int, ...]
    outputs: bytes


def measure(
    project: Path,
    board: Board,
    frames: bytes,
    *,
    model: str,
    profile: bool = False,
    cc: str | None = None,
    sanitize: bool = False,
    timeout: float = TIMEOUT,
) -> Measurement:
    """Builds ``project`` for ``board`` in a temporary folder and runs it on ``frames`` (each
    frame all inputs one after the other).

    ``profile`` also counts instructions per layer, in a second build run beside the first;
    where that one alone does not fit into the board's memory, they are None. ``cc`` is the
    compiler, ``timeout`` the seconds a run may take before it is killed. Raises
    ``ToolMissing``, ``ToolFailed``, ``OutOfMemory``, ``BoardError``.
    """
    if not board.is_host and board.simulator is None:
        raise BoardError(f"{board.name} has no simulator to run in")
    try:
        return _measure(
            project,
            board,
            frames,
            model=model,
            profile=profile,
            cc=cc,
            sanitize=sanitize,
            timeout=timeout,
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
    cc: str | None,
    sanitize: bool,
    timeout: float,
) -> Measurement:
    capabilities = host.CAPABILITIES if board.is_host else qemu.CAPABILITIES
    profile = profile and "layers" in capabilities
    halt = Halt()
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        folder = Path(name)

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
                halt=halt,
            )
            return program, _run(program, board, frames, folder / f"{kind}-run", timeout, halt)

        with ThreadPoolExecutor(max_workers=2) as pool:
            try:
                plain = pool.submit(attempt, "plain", False)
                profiled = pool.submit(attempt, "profile", True) if profile else None
                program, report = plain.result()
                layers = None
                if profiled is not None:
                    try:
                        layers = profiled.result()[1].layers
                    except OutOfMemory:
                        layers = None
            except BaseException:
                halt.stop()
                raise
        sizes = _sizes(program, board, model)
    figures = report.figures
    return Measurement(
        outputs=report.outputs,
        status=figures["status"],
        instructions=figures.get("instructions"),
        layer_instructions=layers,
        stack=figures.get("stack"),
        static=figures["context"] + sizes.variables,
        arena=figures["arena"],
        code=sizes.code,
        weights=sizes.weights,
    )


def _sizes(program: Path, board: Board, model: str) -> Sizes:
    if board.is_host:
        objects = program.parent / "model"
        return object_sizes(objects / f"{model}.o", objects / f"{model}_weights.o")
    return program_sizes(program)


def _run(
    program: Path, board: Board, frames: bytes, folder: Path, timeout: float, halt: Halt
) -> _Report:
    folder.mkdir()
    (folder / "input.bin").write_bytes(frames)
    if board.simulator is None:
        ended = host.run(program, folder, timeout=timeout, halt=halt)
    else:
        ended = qemu.run(board.simulator, program, folder, timeout=timeout, halt=halt)
    return parse_report(ended, folder / "output.bin", board.name)


def parse_report(ended: Ended, output: Path, where: str) -> _Report:
    """The harness's figures; ``ToolFailed`` if the program did not come to its end."""
    figures: dict[str, int] = {}
    layers: list[int] = []
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
    if not complete or not {"status", "context", "arena"} <= figures.keys() or ended.code != 0:
        raise ToolFailed(
            f"the program ended early with code {ended.code}: {last_words(ended.text)}", at=where
        )
    return _Report(figures, tuple(layers), output.read_bytes())
