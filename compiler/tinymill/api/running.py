"""``run``: a model built and run on the host or in QEMU."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..boards import Board
from ..deploy import measure
from ..errors import InvalidInput, InvalidModel, TinymillError, ToolFailed
from ..files import written_whole
from ..project import PLAN, read_plan
from ..samples import PATTERN, End, frames_of, outputs_of, sensor_data
from ..schedule import Optimize
from .compiling import compile_file
from .folders import board_of_folder, check_wanted
from .lowering import tuned
from .options import Io, Measuring, Requant, Source, Wanted, Weights, sources_of


@dataclass(frozen=True)
class Ram:
    """Bytes of RAM in a run; ``stack`` is None where it can't be painted (sanitizers)."""

    arena: int
    static: int
    stack: int | None

    @property
    def total(self) -> int:
        return self.arena + self.static + (self.stack or 0)


@dataclass(frozen=True)
class Flash:
    """Bytes of flash: code with its constants, and weights."""

    code: int
    weights: int

    @property
    def total(self) -> int:
        return self.code + self.weights


@dataclass(frozen=True)
class LayerTime:
    """Instructions of one layer in one inference; None where they aren't counted (host).
    ``cycles_estimate`` is None where it isn't asked for."""

    name: str
    op: str
    instructions: int | None
    cycles_estimate: int | None = None


@dataclass(frozen=True)
class RunResult:
    """What a run gave. ``outputs`` are in the source model's layout.

    ``cycles_estimate`` and ``instruction_classes`` (kind -> instructions) are of the first
    inference, where ``cycles`` was asked for.
    """

    target: str
    frames: int
    outputs: tuple[np.ndarray, ...]
    output_names: tuple[str, ...]
    instructions: int | None
    ram: Ram
    flash: Flash
    layers: tuple[LayerTime, ...]
    cycles_estimate: int | None = None
    instruction_classes: Mapping[str, int] | None = None
    front_instructions: int | None = None
    """Of the front end until the first inference; None without one or where none are counted."""

    @property
    def output_crc32(self) -> str:
        """zlib crc32 of the raw bytes of all outputs in order, frame by frame."""
        crc = 0
        for frame in range(self.frames):
            for array in self.outputs:
                part = array if self.frames == 1 else array[frame]
                crc = zlib.crc32(np.ascontiguousarray(part).tobytes(), crc)
        return f"{crc:08x}"


def run(
    model: str | Path,
    *,
    target: str | Path | Board | None = None,
    input: Sequence[str | Path | np.ndarray] | str | Path | np.ndarray = PATTERN,
    io: Io | None = None,
    requant: Requant | None = None,
    optimize: Optimize | None = None,
    plan: str | Path | None = None,
    ram: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    keep_inputs: bool = False,
    stream_input: bool = False,
    fast_ram: int | None = None,
    weights: Weights | None = None,
    step: int | None = None,
    frontend: str | Path | None = None,
    layers: bool = True,
    cycles: bool = False,
    cc: str | None = None,
    sanitize: bool = False,
    mean: float | None = None,
    std: float | None = None,
    resize: bool = False,
    timeout: float = 600.0,
) -> RunResult:
    """Compiles (unless ``model`` is a project folder), builds and runs on host or in QEMU.

    ``input`` is one source or one for each input of the model: "pattern", an array, a .npy
    file or an image. With a ``frontend`` it is what the sensor gives: a .wav file, a .npy file
    (int16 samples, pixels), an image, an array. ``io``, ``requant``, ``optimize``, ``plan`` and
    ``step`` are as for ``compile``; a project folder has its own, and others are refused. With
    ``step`` the input is a stream of rows, cut into steps, and there is an output for each.
    ``cycles`` also estimates cycles (Cortex-M4 and M7 in QEMU, else ``BoardError``). Raises what
    ``compile`` raises, ``InvalidInput``, ``ToolMissing``, ``ToolFailed``.
    """
    wanted = Wanted(
        io=io, requant=requant, optimize=optimize, plan=plan, ram=ram, shapes=shapes,
        keep_inputs=keep_inputs, stream_input=stream_input, fast_ram=fast_ram, weights=weights,
        step=step, frontend=frontend,
    )  # fmt: skip
    measuring = Measuring(cc, sanitize, mean, std, resize, timeout)
    measuring.check()
    sources = sources_of(input)
    path = Path(model)
    if path.is_dir():
        description = read_plan(path)
        board = board_of_folder(target, description, path)
        check_wanted(description, path, wanted)
        return run_project(
            path, description, board, sources, measuring, layers=layers, cycles=cycles
        )
    compiled = compile_file(path, "host" if target is None else target, wanted.options())
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        folder = Path(name) / "project"
        compiled.write(folder)
        return run_project(
            folder, compiled.description, compiled.board, sources, measuring, layers=layers,
            cycles=cycles,
        )  # fmt: skip


def run_project(
    folder: Path,
    description: Mapping[str, Any],
    board: Board,
    sources: Sequence[Source],
    measuring: Measuring,
    *,
    layers: bool,
    cycles: bool,
) -> RunResult:
    """Builds and runs a project folder; ``layers`` counts instructions for each layer."""
    board = tuned(board, description.get("optimize", "time"))
    inputs = [End.of(entry) for entry in description["inputs"]]
    outputs = [End.of(entry) for entry in description["outputs"]]
    if description.get("frontend"):
        if (measuring.mean, measuring.std, measuring.resize) != (None, None, False):
            raise InvalidInput("the front end scales its pictures", hint="leave out --mean, --std")
        if cycles:
            raise InvalidInput(
                "cycles are estimated for a run, not for the pushes of a front end",
                hint="compile without --frontend",
            )
        frames, count = sensor_data(sources, inputs, description["frontend"])
    else:
        frames, count = frames_of(
            sources, inputs, mean=measuring.mean, std=measuring.std, resize=measuring.resize
        )
    found = measure(
        folder, board, frames, model=description["model"], profile=layers,
        cycles=cycles, cc=measuring.cc, sanitize=measuring.sanitize, timeout=measuring.timeout,
    )  # fmt: skip
    if found.status != 0:
        raise ToolFailed(f"the model answered status {found.status}", at=board.name)
    if len(found.outputs) != count * sum(end.size for end in outputs):
        raise ToolFailed(f"{len(found.outputs)} bytes of output", at=board.name)
    counts = found.layer_instructions or (None,) * len(description["layers"])
    estimates = found.layer_cycles or (None,) * len(counts)
    if len(counts) != len(description["layers"]):
        raise InvalidModel(f"{PLAN} is not that of the C beside it", at=str(folder))
    times = tuple(
        LayerTime(layer["name"], layer["op"], instructions, estimate)
        for layer, instructions, estimate in zip(
            description["layers"], counts, estimates, strict=True
        )
    )
    return RunResult(
        board.name, count, tuple(outputs_of(found.outputs, outputs, count)),
        tuple(end.name for end in outputs), found.instructions,
        Ram(found.arena, found.static, found.stack), Flash(found.code, found.weights), times,
        found.cycles, found.instruction_classes, found.front_instructions,
    )  # fmt: skip


def save_outputs(result: RunResult, path: str | Path) -> None:
    """Writes the outputs: .npy for a single one, .npz for any number by name."""
    path = Path(path)
    if path.suffix not in (".npy", ".npz"):
        raise TinymillError("outputs are written as .npy or .npz", at=str(path))
    if path.suffix == ".npy" and len(result.outputs) != 1:
        raise TinymillError(
            f"the model has {len(result.outputs)} outputs", at=str(path), hint="use .npz"
        )
    with written_whole(path) as stream:
        if path.suffix == ".npy":
            np.save(stream, result.outputs[0])
        else:
            _save_archive(stream, result)


def _save_archive(stream: IO[bytes], result: RunResult) -> None:
    """What ``np.savez`` writes, but any name goes; the second "x" becomes "x.1"."""
    with zipfile.ZipFile(stream, "w") as archive:
        used: set[str] = set()
        for index, (name, array) in enumerate(
            zip(result.output_names, result.outputs, strict=True)
        ):
            unique = f"{name}.{index}" if name in used else name
            used.add(unique)
            with archive.open(f"{unique}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
