"""A model as the passes leave it, for one board's kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..boards import Board, load_board
from ..ir import Graph
from ..passes import pipeline, run_passes
from .options import Io, Requant


def lowered(graph: Graph, io: Io, requant: Requant, dump: Path | None) -> Graph:
    """The graph after all passes; ``dump`` is a folder for its text after each."""
    passes = pipeline(quantized_io=io == "quantized", fixed=requant == "fixed")
    return run_passes(graph, passes, dump)


def board_of(target: str | Path | Board) -> Board:
    """A board by its name or .toml file, or as it is."""
    return target if isinstance(target, Board) else load_board(target)


def tuned(board: Board, optimize: str) -> Board:
    """The board with its compiler's flags for ``optimize``."""
    if optimize != "size" or board.is_host:
        return board
    return replace(board, compiler=replace(board.compiler, optimise="-Os"))
