"""Windows over the samples of a motion sensor, or of any other that gives a few numbers at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import numpy as np

from ...errors import InvalidInput
from .source import RowSource, check_samples

MOST_AXES = 64


@dataclass(frozen=True)
class Motion(RowSource):
    """One row for each sample of ``axes`` 16-bit numbers: (number - offset) * scale.

    ``scale`` and ``offset`` are one number, or one for each axis.
    """

    kind: ClassVar[str] = "motion"

    axes: int = 3
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)

    def check(self, at: str) -> None:
        super().check(at)
        self.within("axes", 1, MOST_AXES, at)
        for name in ("scale", "offset"):
            if len(getattr(self, name)) not in (1, self.axes):
                raise InvalidInput(
                    f"{name} has {len(getattr(self, name))} numbers for {self.axes} axes", at=at
                )
        self.within("offset", -1e6, 1e6, at)
        for number in self.scale:
            if not (isfinite(number) and 1e-9 <= abs(number) <= 1e9):
                raise InvalidInput(f"scale is {number}, which scales nothing", at=at)

    @property
    def row(self) -> int:
        return self.axes

    @property
    def units(self) -> tuple[tuple[float, float], ...]:
        count = max(len(self.scale), len(self.offset))
        scales = self.scale * (count // len(self.scale))
        offsets = self.offset * (count // len(self.offset))
        return tuple((s, -s * o) for s, o in zip(scales, offsets, strict=True))

    def need(self, rows: int) -> tuple[int, ...]:
        return rows, self.axes

    def rows(self, samples: np.ndarray) -> int:
        samples = check_samples(samples, 2, self.kind)
        if samples.shape[1] != self.axes:
            raise InvalidInput(f"{samples.shape[1]} axes, not {self.axes}", at="samples")
        return len(samples)

    def values(self, samples: np.ndarray) -> np.ndarray:
        self.rows(samples)
        return np.asarray(samples).astype(np.int32)

    @property
    def source(self) -> str:
        return "tm_front_motion"

    @property
    def scratch_bytes(self) -> int:
        return 0

    def params(self) -> Mapping[str, Any]:
        return {"axes": self.axes, "each": int(len(self.units) > 1)}
