"""Camera pictures: crop, scale and recode them line by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, prod
from typing import Any, ClassVar

import numpy as np

from ...errors import InvalidInput
from ...ir import DType, TensorType
from .fixed import check_input
from .source import Bound, FrontEnd, pattern

FORMATS = {"gray": 1, "rgb565": 2, "rgb565-be": 2, "rgb888": 3, "bgr888": 3}
"""Bytes of a pixel. rgb565 has its low byte first, rgb565-be its high byte."""
MOST = 1 << 13


@dataclass(frozen=True)
class Picture(FrontEnd):
    """A picture of ``width`` x ``height`` pixels (0: the size that the model wants).

    ``crop`` is "center" (the largest part of the model's proportions), "none" (all, distorted) or
    the numbers x, y, width, height. A pixel becomes (pixel - mean) / std; without both, an 8-bit
    input gets the pixel itself (int8: less 128) and a float one pixel / 255. ``mean`` and ``std``
    are one number, or one for each channel.
    """

    kind: ClassVar[str] = "image"

    width: int = 0
    height: int = 0
    format: str = "rgb888"
    crop: str | tuple[int, ...] = "center"
    resize: str = "bilinear"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    output: tuple[int, ...] = ()

    def check(self, at: str) -> None:
        self.within("width", 0, MOST, at)
        self.within("height", 0, MOST, at)
        self.one_of("format", tuple(FORMATS), at)
        self.one_of("resize", ("bilinear", "nearest"), at)
        if isinstance(self.crop, str):
            self.one_of("crop", ("center", "none"), at)
        elif len(self.crop) != 4 or min(self.crop) < 0 or 0 in self.crop[2:]:
            raise InvalidInput(f"crop is {list(self.crop)}, not x, y, width, height", at=at)
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if len(numbers) not in (0, 1, 3) or not all(isfinite(x) for x in numbers):
                raise InvalidInput(f"{name} is {list(numbers)}, not one number or three", at=at)
        if not all(1e-9 <= abs(x) <= 1e9 for x in self.std):
            raise InvalidInput(f"std is {list(self.std)}, which scales nothing", at=at)
        if self.output and not _is_map(self.output):
            raise InvalidInput(
                f"output is {list(self.output)}, not height, width and 1 or 3 channels", at=at
            )

    def __call__(self, data: np.ndarray) -> np.ndarray:
        if not self.output:
            raise InvalidInput(
                "the size of the output is the model's", hint="bind it, or give output = [h, w, c]"
            )
        found = self.bind(TensorType((1, *self.output), DType.FLOAT32), at="output").frames(data)
        return found[:, 0]

    def bind(self, input: TensorType, *, at: str) -> BoundPicture:
        text = "x".join(map(str, input.shape))
        size = _map_of(input.shape)
        if size is None:
            raise InvalidInput(
                f"an input of {text} is no picture of 1 or 3 channels up to {MOST} x {MOST}",
                at=at,
            )
        if self.output and tuple(self.output) != size:
            raise InvalidInput(f"output is {list(self.output)}, the model's input {text}", at=at)
        check_input(input, at)
        height, width, _ = size
        sized = replace(self, width=self.width or width, height=self.height or height)
        x, y, w, h = sized.area(width, height)
        if x + w > sized.width or y + h > sized.height:
            raise InvalidInput(
                f"the crop {x}, {y}, {w}, {h} lies outside {sized.width} x {sized.height} pixels",
                at=at,
            )
        return BoundPicture(sized, input)

    def area(self, width: int, height: int) -> tuple[int, int, int, int]:
        """x, y, width and height of the part that is scaled to ``width`` x ``height``."""
        if not isinstance(self.crop, str):
            x, y, w, h = self.crop
            return x, y, w, h
        if self.crop == "none":
            return 0, 0, self.width, self.height
        w = max(1, min(self.width, self.height * width // height))
        h = max(1, min(self.height, self.width * height // width))
        return (self.width - w) // 2, (self.height - h) // 2, w, h

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint16 if FORMATS[self.format] == 2 else np.uint8)

    def shape(self, count: int) -> tuple[int, ...]:
        """The shape of ``count`` pictures as arrays: [count, height, width] and 3 colours, or
        uint16 for rgb565 (whatever the order of its bytes)."""
        colours = (3,) if FORMATS[self.format] == 3 else ()
        return (count, self.height, self.width, *colours)

    def of_rgb(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 pixels [h, w, 3] (gray: [h, w, 1]) in this format, [1, ...]."""
        if self.format == "gray":
            return pixels[None, :, :, 0]
        if self.format == "bgr888":
            return pixels[None, ..., ::-1]
        if self.format == "rgb888":
            return pixels[None]
        red, green, blue = (pixels[..., c].astype(np.uint16) for c in range(3))
        return (red >> 3 << 11 | green >> 2 << 5 | blue >> 3)[None]


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] in (1, 3) and all(0 < n <= MOST for n in shape)


def _map_of(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Height, width and channels of an input that takes a picture; of one channel the layout may
    be either. None for others."""
    if len(shape) != 4 or shape[0] != 1:
        return None
    plane = (*shape[2:], 1)
    if not _is_map(shape[1:]) and shape[1] == 1 and _is_map(plane):
        return plane
    return shape[1:] if _is_map(shape[1:]) else None


@dataclass(frozen=True)
class BoundPicture(Bound):
    """A picture in front of a model."""

    front: Picture

    @property
    def channels(self) -> int:
        return self.size[2]

    @property
    def size(self) -> tuple[int, ...]:
        """Height, width and channels of the model's input."""
        found = _map_of(self.input.shape)
        assert found is not None
        return found

    @property
    def line_bytes(self) -> int:
        return self.front.width * FORMATS[self.front.format]

    # -- tables ---------------------------------------------------------------------------

    @cached_property
    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """For each column of the input the source's left one, and 256ths of its right one."""
        x, _, w, _ = self.front.area(self.size[1], self.size[0])
        return self._axis(x, w, self.size[1])

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The same for rows."""
        _, y, _, h = self.front.area(self.size[1], self.size[0])
        return self._axis(y, h, self.size[0])

    def _axis(self, start: int, size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        # the middle of an element lies at (i + 1/2) size / count of the source
        middles = (2 * np.arange(count, dtype=np.int64) + 1) * size
        if self.front.resize == "nearest":
            return _words(start + middles // (2 * count)), np.zeros(count, np.uint8)
        place = np.clip(middles - count, 0, 2 * count * (size - 1))
        units = (place * 256 + count) // (2 * count)
        return _words(start + units // 256), (units % 256).astype(np.uint8)

    @cached_property
    def table(self) -> np.ndarray:
        """What a pixel of each value becomes: [1 or channels, 256]."""
        pixels = np.arange(256)
        dtype = self.input.dtype
        front = self.front
        if not front.mean and not front.std and dtype in (DType.INT8, DType.UINT8):
            return (pixels + dtype.limits[0]).astype(dtype.numpy)[None]
        means, stds = front.mean or (0.0,), front.std or (255.0,)
        count = max(len(means), len(stds))
        if count not in (1, self.channels):
            raise InvalidInput(f"{count} means or stds for {self.channels} channels", at="image")
        pairs = zip(means * (count // len(means)), stds * (count // len(stds)), strict=True)
        reals = np.array([(pixels - mean) / std for mean, std in pairs])
        if dtype is DType.FLOAT32:
            return reals.astype(np.float32)
        q = np.rint(reals / self.input.scale) + self.input.zero_point
        return np.clip(q, *dtype.limits).astype(dtype.numpy)

    # -- the twin -------------------------------------------------------------------------

    def frames(self, data: np.ndarray) -> np.ndarray:
        pixels = self._colours(self._pictures(data))
        x0, right = self.columns
        y0, below = self.rows
        x1, y1 = x0 + (right > 0), y0 + (below > 0)
        across = right.astype(np.int64)[:, None]
        lines: np.ndarray = pixels[:, :, x0] * (256 - across) + pixels[:, :, x1] * across
        down = below.astype(np.int64)[:, None, None]
        sums: np.ndarray = lines[:, y0] * (256 - down) + lines[:, y1] * down
        found = (sums + (1 << 15)) >> 16
        table = self.table
        channel = np.arange(self.channels) if len(table) > 1 else 0
        return table[channel, found].reshape(-1, *self.input.shape)

    def _pictures(self, data: np.ndarray) -> np.ndarray:
        data = np.asarray(data)
        wanted = self.front.shape(1)
        if data.shape == wanted[1:]:
            data = data[None]
        if data.dtype != self.front.dtype or data.shape[1:] != wanted[1:]:
            raise InvalidInput(
                f"{data.dtype} of shape {list(data.shape)}, pictures of {self.front.format} are "
                f"{self.front.dtype} of shape {list(wanted[1:])}",
                at="pixels",
            )
        return data

    def _colours(self, data: np.ndarray) -> np.ndarray:
        """Pixels as 8-bit numbers in the model's channels: int64 [count, h, w, channels]."""
        kind = self.front.format
        x = data.astype(np.int64)
        if kind == "gray":
            return np.repeat(x[..., None], self.channels, axis=-1)
        if kind.startswith("rgb565"):
            red, green, blue = x >> 11, (x >> 5) & 63, x & 31
            parts = [red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2]
            x = np.stack(parts, axis=-1)
        elif kind == "bgr888":
            x = x[..., ::-1]
        if self.channels == 3:
            return x
        # luma of ITU-R BT.601, as Pillow rounds it
        luma = 19595 * x[..., 0] + 38470 * x[..., 1] + 7471 * x[..., 2]
        return ((luma + 0x8000) >> 16)[..., None]

    def inferences(self, data: np.ndarray) -> int:
        return len(self._pictures(data))

    def raw(self, data: np.ndarray) -> bytes:
        data = self._pictures(data)
        if data.dtype == np.uint16:
            data = data.astype(">u2" if self.front.format == "rgb565-be" else "<u2")
        return np.ascontiguousarray(data).tobytes()

    @property
    def needed(self) -> tuple[int, ...]:
        return self.front.shape(1)

    def example(self) -> np.ndarray:
        return pattern(prod(self.needed)).astype(self.front.dtype).reshape(self.needed)

    # -- the C ----------------------------------------------------------------------------

    @property
    def source(self) -> str:
        return "tm_front_image"

    @property
    def scratch_bytes(self) -> int:
        return 2 * self.size[1] * self.channels * 2

    def params(self) -> Mapping[str, Any]:
        return {
            "width": self.size[1],
            "rows": self.size[0],
            "columns": self.columns[0],
            "rights": self.columns[1],
            "lines": self.rows[0],
            "belows": self.rows[1],
            "table": self.table,
            "channel_step": 256 if len(self.table) > 1 else 0,
        }

    @property
    def fields(self) -> tuple[tuple[str, str, int, str], ...]:
        return (
            ("int32_t", "line", 0, "the next line of the picture"),
            ("int32_t", "row", 0, "the next row of the input"),
        )


def _words(x: np.ndarray) -> np.ndarray:
    return x.astype(np.uint16)
