"""What no honest model for a microcontroller exceeds; beyond it a file is refused."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..errors import InvalidModel

MAX_ELEMENTS = 1 << 26
MAX_NODES = 1 << 13
MAX_RANK = 8
MAX_FILE = 1 << 30


def checked_shape(shape: Sequence[int], at: str) -> tuple[int, ...]:
    """``shape`` as a tuple; ``InvalidModel`` if a size is not positive or all are too many."""
    dims = tuple(int(n) for n in shape)
    if len(dims) > MAX_RANK:
        raise InvalidModel(f"rank {len(dims)}, at most {MAX_RANK} is supported", at=at)
    if any(n < 1 for n in dims):
        raise InvalidModel(f"shape {list(dims)} has a size below 1", at=at)
    if prod(dims) > MAX_ELEMENTS:
        raise InvalidModel(
            f"shape {list(dims)} has {prod(dims):,} elements, at most {MAX_ELEMENTS:,} "
            "are supported",
            at=at,
        )
    return dims
