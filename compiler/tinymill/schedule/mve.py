"""What a depthwise convolution needs on a core with MVE, as runtime_c/src/mve reckons it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WORDS = 1024
BLOCK = 16
SLACK = 64


@dataclass(frozen=True)
class MveWindows:
    """Facts of a call of the family conv2d whose groups have one channel.

    ``pairs``    whether a window serves two columns of two output rows
    ``pieces``   vectors of a window
    ``rows``     output rows written before the input rows of the first are let go
    ``scratch``  bytes of temporary memory
    """

    pairs: int
    pieces: int
    rows: int
    scratch: int

    @classmethod
    def of(cls, n: Mapping[str, int | float], *, padded: bool) -> MveWindows:
        size = {name: int(value) for name, value in n.items()}
        height, width, channels = size["kernel_h"], size["kernel_w"], size["in_c"]
        stride, dilation = size["stride_w"], size["dilation_w"]
        plain = stride == size["stride_h"] == dilation == size["dilation_h"] == 1
        groups = -(-height // 4)
        if plain and max(height, width) <= 3 and size["out_w"] > 1:
            columns = -(-size["out_w"] // 4) * 4 + 2
            return cls(1, 1, _rows(2, 1, columns, channels), _scratch(1, columns, channels))
        columns = (-(-size["out_w"] // 4) * 4 - 1) * stride + (width - 1) * dilation + 1
        rows = 1
        scratch = _scratch(groups, columns, channels)
        if size["in_w"] == width == 1 and not padded:
            down = size["stride_h"]
            fit = WORDS // (groups * channels)
            band = max(4, ((fit - 1) // down + 1) // 4 * 4)
            high = (band - 1) * down + 1
            rows = _rows(min(band, size["out_h"]), groups, high, channels)
            scratch = max(scratch, _scratch(groups, high, channels))
        return cls(0, -(-groups * width // 4), rows, scratch)


def _rows(rows: int, groups: int, columns: int, channels: int) -> int:
    """With all channels in scratch, everything is read before anything is written."""
    return 1 if groups * columns * channels <= WORDS else rows


def _scratch(groups: int, columns: int, channels: int) -> int:
    block = channels
    if groups * columns * channels > WORDS:
        most = max(WORDS // (groups * columns) // BLOCK, 1) * BLOCK
        blocks = -(-channels // most)
        block = min(-(-channels // (blocks * BLOCK)) * BLOCK, channels)
    return 4 * groups * columns * block + SLACK
