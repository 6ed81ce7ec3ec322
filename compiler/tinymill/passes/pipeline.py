"""The passes in the order in which they run; after each, the verifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..ir import Graph, print_graph, verify
from .drop_softmax import drop_softmax
from .eliminate import eliminate
from .fold import fold_constants, fold_flatten, fold_padding
from .fold_batch_norm import fold_batch_norm
from .fuse_activation import fuse_activation
from .fuse_qdq import fuse_qdq
from .layout import layout
from .move_quantization import hoist_quantize, sink_dequantize
from .requantize import fixed_requantization
from .signed_bytes import signed_bytes
from .strip_ends import strip_ends
from .tabulate import tabulate

Pass = Callable[[Graph], Graph]


def pipeline(*, quantized_io: bool, fixed: bool, without_softmax: bool = False) -> tuple[Pass, ...]:
    """The passes of a compilation, in order.

    ``quantized_io`` takes the float ends off, ``fixed`` turns float rescaling into fixed point,
    ``without_softmax`` leaves out the one that a model ends in.
    """
    passes: list[Pass] = [drop_softmax] if without_softmax else []
    passes += [eliminate, layout, fold_batch_norm, fuse_activation]
    passes += [sink_dequantize, hoist_quantize]
    if quantized_io:
        passes.append(strip_ends)
    passes += [
        signed_bytes,
        fuse_qdq,
        tabulate,
        fold_constants,
        fold_padding,
        eliminate,
        fold_flatten,
    ]
    if fixed:
        passes.append(fixed_requantization)
    return (*passes, eliminate)


def run_passes(graph: Graph, passes: tuple[Pass, ...], dump: Path | None = None) -> Graph:
    """Applies the passes; ``dump`` gets the graph's text after each.

    Raises ``AssertionError`` naming the pass that broke the graph.
    """
    verify(graph)
    if dump is not None:
        dump.mkdir(parents=True, exist_ok=True)
        _write(dump / "00-source.txt", graph)
    for index, step in enumerate(passes, 1):
        name = step.__name__
        graph = step(graph)
        try:
            verify(graph)
        except AssertionError as error:
            raise AssertionError(f"pass {name}: {error}") from error
        if dump is not None:
            _write(dump / f"{index:02}-{name}.txt", graph)
    return graph


def _write(path: Path, graph: Graph) -> None:
    path.write_text(print_graph(graph), encoding="utf-8", errors="backslashreplace")
