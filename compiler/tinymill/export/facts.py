"""What the templates of an export print, computed and frozen beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import __version__
from ..boards import Board
from ..deploy import qemu, toolchain
from ..deploy.project import HARNESS_STACK, STACK_LEAST, regions_for
from ..deploy.recipe import EXACT, STARTS, recipe
from ..errors import InvalidModel
from ..ir import DType
from .source import Exportable

LIBRARY_VERSION = "1.0.0"
"""Version that manifests give to an exported model; its owner counts it up."""

ALIGN = 16
"""Bytes; no kernel asks for more."""

PROCESSORS = {"arm-none-eabi": "arm", "riscv64-unknown-elf": "riscv32"}


@dataclass(frozen=True)
class EndFacts:
    """One input or output: ``text`` is its name, type and shape for people."""

    c_type: str
    bytes: int
    text: str


@dataclass(frozen=True)
class BoardFacts:
    """How C is compiled and linked for the target, as the options of a gcc."""

    name: str
    title: str
    core: str
    features: tuple[str, ...]
    host: bool
    program: str
    processor: str
    """What CMake calls CMAKE_SYSTEM_PROCESSOR."""
    flags: tuple[str, ...]
    """The core's, for every compile."""
    link_flags: tuple[str, ...]
    optimise: str
    start: str
    """The start-up code's file; "" on the host."""
    run: tuple[str, ...]
    """The call of the simulator, behind which the program's path goes; empty without one."""
    regions: tuple[tuple[str, str, str, str], ...]
    """Name, access, address and size of the memories, as a linker script writes them."""
    stack: int
    """Bytes that the linker keeps for the stack."""
    code: str
    """The region of the code; those of the other parts of a program follow."""
    weights: str
    ram: str
    arena: str
    slow: str


@dataclass(frozen=True)
class ExportFacts:
    """One model in one format."""

    name: str
    macro: str
    source: str
    format: str
    board: BoardFacts
    align: int
    arena_bytes: int
    slow_bytes: int
    state_bytes: int
    weights_bytes: int
    streamed: bool
    stepped: bool
    """Whether an input is the new rows of a step (``NAME_step``)."""
    inputs: tuple[EndFacts, ...]
    outputs: tuple[EndFacts, ...]
    sources: tuple[str, ...]
    """The C files to compile, relative to the folder of the model's files."""
    exact: tuple[str, ...]
    """Compiler options without which the numbers may change."""
    version: str
    tinymill: str


def facts_of(model: Exportable, form: str) -> ExportFacts:
    """The facts of a model. Raises ``InvalidModel`` where its plan.json does not tell them."""
    description = model.description
    try:
        arena = description["arena"]
        slow = int(arena.get("slow_bytes", 0))
        arena_bytes = int(arena["bytes"]) - slow
        weights = int(description["weights_bytes"])
        state = int(description["state_bytes"])
        streamed = bool(description["stream_input"])
        stepped = description.get("step") is not None
        inputs = tuple(_end(entry) for entry in description["inputs"])
        outputs = tuple(_end(entry) for entry in description["outputs"])
        source = _plain(str(description.get("source", model.name)))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        problem = f"its plan.json is not whole ({type(error).__name__}: {error})"
        raise InvalidModel(problem, at=model.name, hint="compile it again") from None
    if not outputs:
        raise InvalidModel("has no outputs", at=model.name, hint="compile it again")
    return ExportFacts(
        model.name, model.name.upper(), source, form,
        _board(model.board, arena_bytes, slow, weights), ALIGN,
        arena_bytes, slow, state, weights, streamed, stepped, inputs, outputs,
        (f"{model.name}.c", f"{model.name}_weights.c"),
        EXACT, LIBRARY_VERSION, __version__,
    )  # fmt: skip


def _end(entry: Mapping[str, Any]) -> EndFacts:
    dtype = DType.of(np.dtype(entry["dtype"]))
    shape = [int(size) for size in entry["shape"]]
    text = f"{dtype.numpy.name} [{', '.join(map(str, shape))}]"
    if entry["scale"] is not None:
        text += f", real = {float(entry['scale']):.9g} * (q - {int(entry['zero_point'])})"
    return EndFacts(dtype.c, int(entry["bytes"]), f"`{_plain(str(entry['name']))}`: {text}")


def _plain(text: str) -> str:
    """``text`` as printable ASCII without what Markdown or C comments read as more than text."""
    kept = "".join(c if " " <= c <= "~" and c not in "`<>|\\*" else "_" for c in text)
    return kept if len(kept) <= 120 else f"{kept[:117]}..."


def _board(board: Board, arena_bytes: int, slow_bytes: int, weights_bytes: int) -> BoardFacts:
    compiler = board.compiler
    places = dict.fromkeys(("code", "weights", "ram", "arena", "slow"), "")
    if not board.is_host:
        places = regions_for(
            board, arena_bytes=arena_bytes, slow_bytes=slow_bytes, weights_bytes=weights_bytes
        )
    return BoardFacts(
        board.name, board.title, board.core, board.features, board.is_host,
        toolchain.COMPILERS[compiler.family], PROCESSORS.get(compiler.family, ""),
        compiler.flags, recipe(board, "model").link_flags, compiler.optimise,
        STARTS.get(compiler.family, ""),
        () if board.simulator is None else qemu.argv(board.simulator, "")[:-1],
        tuple(
            (r.name, "rx" if r.kind == "flash" else "rwx", f"0x{r.address:08X}", f"0x{r.size:X}")
            for r in board.regions
        ),
        STACK_LEAST + HARNESS_STACK, **places,
    )  # fmt: skip
