"""Finds the files that are not Python: templates/, runtime_c/, boards/.

The wheel installs them as the data packages ``tinymill.share_data.*``; a checkout (editable
install) has them at its top level.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def share(room: str) -> Path:
    """Folder of ``room`` ("templates", "runtime_c" or "boards"), installed or in the checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "share_data" / room, here.parents[1] / room):
        if folder.is_dir():
            return folder
    raise AssertionError(f"tinymill is installed without its {room}/ folder")
