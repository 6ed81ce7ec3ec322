"""Front ends: what stands between a sensor and a model, as numpy twins of the C that is emitted.

``load(spec)(data)`` gives features as real numbers; ``load(spec).bind(type)`` the bytes that a
model's input gets.
"""

from __future__ import annotations

from .fixed import Store
from .image import BoundPicture
from .source import AudioSource, Bound, BoundRows, FrontEnd
from .spec import KINDS, load

__all__ = [
    "KINDS", "AudioSource", "Bound", "BoundPicture", "BoundRows", "FrontEnd", "Store", "load",
]  # fmt: skip
