"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import TinymillError


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A stream whose bytes become ``path`` when the block ends without an exception.

    Else what stood at ``path`` stays, and nothing is left beside it. Raises ``TinymillError``
    where the file can't be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise TinymillError(
                f"can't be written: {error.strerror or error}", at=str(path)
            ) from error
        raise
