"""What front ends have in common: their parameters, the rows they give, the model they feed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite, prod
from typing import Any, ClassVar

import numpy as np

from ...errors import InvalidInput
from ...ir import DType, TensorType
from .fixed import Store, store_of

MOST_WINDOW = 4096
"""Samples of a window; beyond, an FFT in 32 bits runs out of headroom."""
MOST_ROWS = 1 << 16
MOST_ROW = 1 << 10
C_SIZES = {"uint32_t": 4, **{dtype.c: dtype.size for dtype in DType}}
CHUNK = 512
"""Windows that a twin computes at once."""


@dataclass(frozen=True)
class FrontEnd(ABC):
    """The parameters of one kind of front end, as a TOML file has them."""

    kind: ClassVar[str]

    @abstractmethod
    def check(self, at: str) -> None:
        """Raises ``InvalidInput`` naming ``at`` and the parameter that is out of range."""

    def within(self, name: str, least: float, most: float, at: str) -> None:
        value = getattr(self, name)
        for number in value if isinstance(value, tuple) else (value,):
            if not (isfinite(number) and least <= number <= most):
                raise InvalidInput(f"{name} is {number}, not from {least:g} to {most:g}", at=at)

    def one_of(self, name: str, allowed: tuple[str, ...], at: str) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise InvalidInput(f"{name} is {value!r}, not one of {', '.join(allowed)}", at=at)

    def options(self) -> dict[str, Any]:
        """All parameters with their values, as JSON has them."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        listed = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {"kind": self.kind, **listed}

    @abstractmethod
    def __call__(self, data: np.ndarray) -> np.ndarray:
        """What the front end makes of ``data``, as real numbers (float32)."""

    @abstractmethod
    def bind(self, input: TensorType, *, at: str) -> Bound:
        """The front end in front of a model whose input (as the C has it) is ``input``.

        Raises ``InvalidInput`` naming ``at`` (the input) where the shapes or types don't fit.
        """


@dataclass(frozen=True)
class Bound(ABC):
    """A front end with the input it feeds."""

    front: FrontEnd
    input: TensorType

    @abstractmethod
    def frames(self, data: np.ndarray) -> np.ndarray:
        """The model's inputs that ``data`` gives, byte for byte what the C gives:
        [inferences, *shape], in the layout of the C. Raises ``InvalidInput`` for other data."""

    @abstractmethod
    def inferences(self, data: np.ndarray) -> int:
        """How often the model runs while ``data`` is pushed."""

    @abstractmethod
    def raw(self, data: np.ndarray) -> bytes:
        """``data`` as the bytes that the C takes. Raises ``InvalidInput`` for other data."""

    @property
    @abstractmethod
    def needed(self) -> tuple[int, ...]:
        """The shape of data that completes one input."""

    @abstractmethod
    def example(self) -> np.ndarray:
        """Data that completes one input, by the benchmark's generator."""

    @property
    @abstractmethod
    def source(self) -> str:
        """The C file, without its ending."""

    @property
    @abstractmethod
    def scratch_bytes(self) -> int:
        """Bytes of the arena that the front end uses while it works; 0 for none."""

    @abstractmethod
    def params(self) -> Mapping[str, Any]:
        """The parameters of the C functions: numbers, arrays, stores, None."""

    @property
    @abstractmethod
    def fields(self) -> tuple[tuple[str, str, int, str], ...]:
        """The state between two pushes: C type, name, count (0: no array), comment."""

    @property
    def state_bytes(self) -> int:
        """Bytes of the state, gaps between its fields included."""
        end = 0
        for kind, _, count, _ in self.fields:
            size = C_SIZES[kind]
            end = -(-end // size) * size + size * max(1, count)
        return -(-end // 4) * 4


@dataclass(frozen=True)
class RowSource(FrontEnd):
    """A front end that gives rows of features, of which a model sees the last few.

    ``stride`` is the number of new rows from one inference to the next; 0: as many as the model
    sees.
    """

    stride: int = 0

    def check(self, at: str) -> None:
        self.within("stride", 0, MOST_ROWS, at)

    @property
    @abstractmethod
    def row(self) -> int:
        """Values in a row."""

    @property
    @abstractmethod
    def source(self) -> str:
        """The C file and its function that makes a row."""

    @property
    @abstractmethod
    def scratch_bytes(self) -> int: ...

    @property
    def state(self) -> tuple[tuple[str, str, int, str], ...]:
        """What outlives a push beside the rows."""
        return ()

    @abstractmethod
    def params(self) -> Mapping[str, Any]:
        """The C function's parameters but the stores."""

    @abstractmethod
    def values(self, samples: np.ndarray) -> np.ndarray:
        """Rows of features before they are scaled: int32 [rows, row], below 2^28."""

    @abstractmethod
    def need(self, rows: int) -> tuple[int, ...]:
        """The shape of samples that give that many rows."""

    @abstractmethod
    def rows(self, samples: np.ndarray) -> int:
        """How many rows ``samples`` give. Raises ``InvalidInput`` for samples of another form."""

    @property
    @abstractmethod
    def units(self) -> tuple[tuple[float, float], ...]:
        """Scale and offset of the real numbers that ``values`` stand for: one pair, or one for
        each value of a row."""

    def __call__(self, data: np.ndarray) -> np.ndarray:
        scale, offset = np.array(self.units).T
        return np.asarray(self.values(data) * scale + offset, np.float32)

    def bind(self, input: TensorType, *, at: str) -> BoundRows:
        rows = rows_of(input.shape, self.row, self.kind, at)
        if rows > MOST_ROWS:
            raise InvalidInput(f"{rows:,} rows, at most {MOST_ROWS:,} are possible", at=at)
        stores = tuple(store_of(*unit, input, at=at) for unit in self.units)
        return BoundRows(self, input, rows, self.stride or rows, stores)


def rows_of(shape: tuple[int, ...], row: int, kind: str, at: str) -> int:
    """How many rows of ``row`` values fill ``shape``: its last axes are a row, or it is flat."""
    for split in range(len(shape) + 1):
        before = [n for n in shape[:split] if n != 1]
        if prod(shape[split:]) == row and len(before) <= 1:
            return prod(before)
    long = [n for n in shape if n != 1]
    if len(long) == 1 and long[0] % row == 0:
        return long[0] // row
    text = "x".join(map(str, shape))
    raise InvalidInput(
        f"{kind} gives rows of {row} values, which don't fill the model's input of {text}", at=at
    )


@dataclass(frozen=True)
class BoundRows(Bound):
    """``rows`` rows fill the model's input; it runs after each ``stride`` new ones."""

    front: RowSource
    rows: int
    stride: int
    stores: tuple[Store, ...]

    def frames(self, data: np.ndarray) -> np.ndarray:
        values = self.front.values(data)
        if len(self.stores) == 1:
            rows = self.stores[0](values)
        else:
            columns = [store(column) for store, column in zip(self.stores, values.T, strict=True)]
            rows = np.stack(columns, axis=1)
        found = [rows[end - self.rows : end] for end in self._ends(len(rows))]
        return np.array(found, rows.dtype).reshape(-1, *self.input.shape)

    def _ends(self, rows: int) -> range:
        return range(self.rows, rows + 1, self.stride)

    def inferences(self, data: np.ndarray) -> int:
        return len(self._ends(self.front.rows(data)))

    def raw(self, data: np.ndarray) -> bytes:
        self.front.rows(data)
        return np.ascontiguousarray(data, "<i2").tobytes()

    @property
    def needed(self) -> tuple[int, ...]:
        return self.front.need(self.rows)

    def example(self) -> np.ndarray:
        return pattern(prod(self.needed)).view(np.int16).reshape(self.needed)

    @property
    def source(self) -> str:
        return self.front.source

    @property
    def scratch_bytes(self) -> int:
        return self.front.scratch_bytes

    def params(self) -> Mapping[str, Any]:
        return {**self.front.params(), "stores": self.stores}

    @property
    def fields(self) -> tuple[tuple[str, str, int, str], ...]:
        count = self.rows * self.front.row
        return (
            *self.front.state,
            ("int32_t", "missing", 0, "rows to come before the next run"),
            ("int32_t", "next", 0, "where the next row goes"),
            (self.input.dtype.c, "rows", count, "the last rows, as the model reads them"),
        )


def pattern(count: int) -> np.ndarray:
    """16-bit words by the benchmark's generator: ((i * 1103515245 + 12345) mod 2^32) >> 16."""
    i = np.arange(count, dtype=np.uint32)
    draws = (i * np.uint32(1103515245) + np.uint32(12345)) >> np.uint32(16)
    return draws.astype(np.uint16)


@dataclass(frozen=True)
class AudioSource(RowSource):
    """Rows from overlapping windows of 16-bit samples.

    ``fft_size`` is the length of the Fourier transform, a power of two; 0: the least that holds
    the window.
    """

    rate: int = 16000
    window_ms: float = 30.0
    hop_ms: float = 20.0
    fft_size: int = 0

    def check(self, at: str) -> None:
        super().check(at)
        self.within("rate", 100, 1_000_000, at)
        for name in ("window_ms", "hop_ms"):
            self.within(name, 1e-3, 1e6, at)
        if not 2 <= self.length <= MOST_WINDOW:
            raise InvalidInput(
                f"a window of {self.length} samples, 2 to {MOST_WINDOW} are possible", at=at
            )
        if not 1 <= self.hop <= self.length:
            raise InvalidInput(f"a hop of {self.hop} samples over windows of {self.length}", at=at)
        size, least = self.fft_size, max(8, self.length)
        if size and (size & (size - 1) or not least <= size <= MOST_WINDOW):
            raise InvalidInput(
                f"fft_size is {size}, no power of two from {least} to {MOST_WINDOW}", at=at
            )

    def check_band(self, low: float, high: float, at: str) -> None:
        if not (
            isfinite(low) and isfinite(high) and 0 <= low <= high - 1 and high <= self.rate / 2
        ):
            raise InvalidInput(
                f"low_hz {low:g} and high_hz {high:g} are no band up to {self.rate / 2:g} Hz", at=at
            )

    @property
    def length(self) -> int:
        """Samples of a window."""
        return int(self.rate * self.window_ms / 1000)

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return int(self.rate * self.hop_ms / 1000)

    @property
    def fft(self) -> int:
        return self.fft_size or max(8, 1 << (self.length - 1).bit_length())

    @property
    def state(self) -> tuple[tuple[str, str, int, str], ...]:
        return (
            ("int32_t", "held", 0, "samples of the next window that are there"),
            ("int16_t", "samples", self.length, "the next window"),
        )

    def need(self, rows: int) -> tuple[int, ...]:
        return (self.length + (rows - 1) * self.hop,)

    def rows(self, samples: np.ndarray) -> int:
        samples = check_samples(samples, 1, self.kind)
        return max(0, 1 + (len(samples) - self.length) // self.hop)

    def slices(self, samples: np.ndarray) -> np.ndarray:
        """The windows: int16 [windows, length]."""
        count = self.rows(samples)
        if count == 0:
            return np.empty((0, self.length), np.int16)
        windows = np.lib.stride_tricks.sliding_window_view(np.asarray(samples), self.length)
        return windows[:: self.hop][:count]


def check_samples(samples: np.ndarray, rank: int, kind: str) -> np.ndarray:
    samples = np.asarray(samples)
    if samples.dtype != np.int16 or samples.ndim != rank:
        raise InvalidInput(
            f"{samples.dtype} of shape {list(samples.shape)}, {kind} takes int16 samples in "
            f"{rank} dimension{'s' if rank > 1 else ''}",
            at="samples",
        )
    return samples
