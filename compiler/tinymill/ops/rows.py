"""Windows that many ops share: which inputs they read row by row (``Op.windows``)."""

from __future__ import annotations

from ..ir import POINT, SAME_ROW, Reading, TensorType, Types, Window


def is_map(kind: TensorType) -> bool:
    """Whether this is one image, [1, rows, columns, channels]."""
    return kind.rank == 4 and kind.shape[0] == 1


def same_rows(types: Types, inputs: int = 1) -> tuple[Reading | None, ...]:
    """Of an op that never leaves a row: ``SAME_ROW`` for the first ``inputs``, else None.

    All None where those and the outputs are not single images of one height.
    """
    given = [types.input(i) for i in range(inputs)]
    kinds = [*given, *types.outputs]
    alike = all(is_map(kind) and kind.shape[1] == kinds[0].shape[1] for kind in kinds)
    rest: list[Reading | None] = [None] * (len(types.inputs) - inputs)
    return (*([SAME_ROW if alike else None] * inputs), *rest)


def same_places(types: Types, axis: int, inputs: int = 1) -> tuple[Window | None, ...]:
    """Along ``axis`` (``Op.along``), of an op that computes each place of it by itself: the first
    ``inputs`` are read at the same place."""
    known = all(kind.rank > axis for kind in types.outputs)
    windows: list[Window | None] = [SAME_ROW if known else None] * inputs
    return (*windows, *([None] * (len(types.inputs) - inputs)))


def broadcast_rows(kind: TensorType | None, output: TensorType) -> Reading | None:
    """Of an input broadcast to ``output``: ``SAME_ROW`` if it has rows of its own, else None.

    One of rank 3 has its rows on axis 0: it, too, is not read whole.
    """
    if kind is None or not is_map(output) or kind.rank < 3:
        return None
    return SAME_ROW if kind.shape[-3] > 1 else None


def elementwise(types: Types) -> tuple[Reading | None, ...]:
    """Of an op on single elements: ``POINT`` for inputs of the output's shape, others broadcast."""
    y = types.output
    return tuple(
        POINT if kind is not None and kind.shape == y.shape else broadcast_rows(kind, y)
        for kind in types.inputs
    )
