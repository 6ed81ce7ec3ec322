"""Log-mel spectra and mel-frequency cepstral coefficients, in integers.

A window of samples, times a window function, is transformed in 32 bits; squared magnitudes (or
magnitudes) are summed in triangular bands; the logarithm has 16 bits of fraction. The C does the
same operations on the same integers, so that cores with and without an FPU give the same bytes.
Scales and names are those of tf.signal (mel "htk", norm "tf") and of librosa (mel "slaney",
norm "ortho", with ``center=False``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, log, log2, log10, pi, sqrt
from typing import Any, ClassVar

import numpy as np

from ...errors import InvalidInput
from .fixed import LOG_TABLE, bits_of
from .source import CHUNK, AudioSource

WINDOW_BITS = 15
TWIDDLE_BITS = 30
FILTER_BITS = 14
POWER_SHIFT = 12
"""Bits that squared magnitudes lose, so that their sums fit 64 bits."""
LOG_BITS = 16
DCT_BITS = 14
LOGS = {"ln": log(2), "log10": log10(2), "db": 10 * log10(2), "log2": 1.0}


@dataclass(frozen=True)
class LogMel(AudioSource):
    """One row of ``channels`` logarithms for each hop of samples.

    A feature is log(m + ``floor``), m the sum over a band of |X|^``power``, X the transform of the
    windowed samples, which are ``full_scale`` where the 16-bit ones are 32768. ``mean`` and
    ``std`` normalise: (feature - mean) / std.
    """

    kind: ClassVar[str] = "log-mel"

    channels: int = 40
    low_hz: float = 20.0
    high_hz: float = 0.0
    window: str = "hann"
    power: int = 2
    mel: str = "htk"
    log: str = "ln"
    floor: float = 1e-6
    full_scale: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    def check(self, at: str) -> None:
        super().check(at)
        self.within("channels", 1, 256, at)
        self.within("power", 1, 2, at)
        self.within("full_scale", 1e-9, 1e9, at)
        self.within("mean", -1e9, 1e9, at)
        if not (isfinite(self.std) and 1e-9 <= abs(self.std) <= 1e9):
            raise InvalidInput(f"std is {self.std}, which scales nothing", at=at)
        self.one_of("window", ("hann", "hamming", "none"), at)
        self.one_of("mel", ("htk", "slaney"), at)
        self.one_of("log", tuple(LOGS), at)
        self.check_band(self.low_hz, self.top_hz, at)
        self.within("floor", 0.0, 1e18, at)
        if not sum(self.filterbank[1]):
            raise InvalidInput("no bin of the FFT lies in a band", at=at)
        if self.floor_units >= 1 << 61:
            raise InvalidInput(f"floor is {self.floor}, more than any band's energy", at=at)

    @property
    def top_hz(self) -> float:
        """``high_hz``, or half the rate where it is 0."""
        return self.high_hz or self.rate / 2

    @property
    def row(self) -> int:
        return self.channels

    # -- tables ---------------------------------------------------------------------------

    @property
    def order(self) -> int:
        """log2 of the FFT's length."""
        return self.fft.bit_length() - 1

    @cached_property
    def coefficients(self) -> np.ndarray:
        """The window function (periodic), 15 bits of fraction."""
        turn = 2 * np.pi * np.arange(self.length) / self.length
        reals = {
            "hann": 0.5 - 0.5 * np.cos(turn),
            "hamming": 0.54 - 0.46 * np.cos(turn),
            "none": np.ones(self.length),
        }[self.window]
        return np.minimum(np.rint(reals * 32768), 32767).astype(np.int16)

    @cached_property
    def twiddles(self) -> np.ndarray:
        """exp(-2 pi i k / fft) for k < fft / 2, 30 bits of fraction: [fft / 2, 2]."""
        turn = -2 * pi * np.arange(self.fft // 2) / self.fft
        parts = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        return np.rint(parts * (1 << TWIDDLE_BITS)).astype(np.int32)

    @cached_property
    def filterbank(self) -> tuple[list[int], list[int], np.ndarray, float]:
        """First bin and bins of each band; their weights, 14 bits, and what 1.0 stands for."""
        to_mel = _htk_mel if self.mel == "htk" else _slaney_mel
        hz = np.arange(self.fft // 2 + 1) * (self.rate / self.fft)
        edges = np.linspace(to_mel(self.low_hz), to_mel(self.top_hz), self.channels + 2)
        if self.mel == "htk":
            place = np.array([to_mel(x) for x in hz])
        else:
            edges = np.array([_slaney_hz(x) for x in edges])
            place = hz
        reals = []
        for low, center, high in zip(edges, edges[1:], edges[2:], strict=False):
            sides = np.minimum(
                (place - low) / (center - low), (high - place) / (high - center)
            ).clip(0)
            reals.append(sides if self.mel == "htk" else sides * (2 / (high - low)))
        if self.mel == "htk":
            for band in reals:
                band[0] = 0.0  # tf.signal leaves out the bin of 0 Hz
        most = max(float(band.max()) for band in reals) or 1.0
        starts, counts, weights = [], [], []
        for band in reals:
            units = np.rint(band / most * (1 << FILTER_BITS)).astype(np.uint16)
            used = np.flatnonzero(units)
            starts.append(int(used[0]) if len(used) else 0)
            counts.append(int(used[-1] - used[0] + 1) if len(used) else 0)
            weights.append(units[starts[-1] : starts[-1] + counts[-1]])
        return starts, counts, np.concatenate(weights), most

    @property
    def sum_bits(self) -> float:
        """log2 of a band's sum where it is 1.0 in units of ``full_scale`` and the weights."""
        spectrum = 30 - self.order - log2(self.full_scale)
        return self.power * spectrum - (POWER_SHIFT if self.power == 2 else 0) + FILTER_BITS

    @property
    def floor_units(self) -> int:
        """``floor`` in units of a band's sum."""
        return round(min(self.floor / self.filterbank[3] * 2.0**self.sum_bits, 2.0**62))

    @property
    def base(self) -> int:
        """What a logarithm is above that of the real value, 16 bits of fraction."""
        return round((self.sum_bits - log2(self.filterbank[3])) * (1 << LOG_BITS))

    @property
    def units(self) -> tuple[tuple[float, float], ...]:
        return ((LOGS[self.log] / (1 << LOG_BITS) / self.std, -self.mean / self.std),)

    # -- the twin -------------------------------------------------------------------------

    def values(self, samples: np.ndarray) -> np.ndarray:
        """Logarithms to base 2 with 16 bits of fraction: int32 [rows, channels]."""
        windows = self.slices(samples)
        found = [
            self._finish(self._logs(windows[start : start + CHUNK]))
            for start in range(0, len(windows), CHUNK)
        ]
        return np.concatenate([np.empty((0, self.row), np.int32), *found])

    def _logs(self, windows: np.ndarray) -> np.ndarray:
        spectrum = self._spectrum(windows)
        energy = (spectrum**2).sum(axis=2)
        if self.power == 2:
            energy >>= POWER_SHIFT
        else:
            energy = _root(energy)
        starts, counts, weights, _ = self.filterbank
        sums = np.zeros((len(windows), self.channels), np.int64)
        place = 0
        for band, (start, count) in enumerate(zip(starts, counts, strict=True)):
            part = weights[place : place + count].astype(np.int64)
            sums[:, band] = energy[:, start : start + count] @ part
            place += count
        sums = np.maximum(sums + self.floor_units, 1)
        return (log2_of(sums) - self.base).astype(np.int32)

    def _finish(self, logs: np.ndarray) -> np.ndarray:
        return logs

    def _spectrum(self, windows: np.ndarray) -> np.ndarray:
        """Twice the spectrum, in units of 2^-(30 - order): int64 [windows, fft / 2 + 1, 2]."""
        n = self.fft // 2
        data = np.zeros((len(windows), self.fft), np.int64)
        shift = self.order + 1
        products = windows.astype(np.int64) * self.coefficients
        data[:, : self.length] = (products + (1 << (shift - 1))) >> shift
        order = np.zeros(n, np.int64)
        for bit in range(self.order - 1):
            order |= ((np.arange(n) >> bit) & 1) << (self.order - 2 - bit)
        points = data.reshape(-1, n, 2)[:, order]
        half = 1
        while half < n:
            pairs = points.reshape(len(points), -1, 2, half, 2)
            twiddles = self.twiddles[:: self.fft // (2 * half)]
            turned = _times(pairs[:, :, 1], twiddles)
            both = np.stack([pairs[:, :, 0] + turned, pairs[:, :, 0] - turned], axis=2)
            points = both.reshape(points.shape)
            half *= 2
        found = np.zeros((len(windows), n + 1, 2), np.int64)
        k = np.arange(n + 1)
        here, there = points[:, k % n], points[:, (n - k) % n] * np.array([1, -1])
        # the spectrum of the even samples, and -i times that of the odd ones
        even = here + there
        odd = (here - there)[..., ::-1] * np.array([1, -1])
        found[:, :n] = even[:, :n] + _times(odd[:, :n], self.twiddles)
        found[:, n] = even[:, 0] - odd[:, 0]
        return found

    # -- the C ----------------------------------------------------------------------------

    @property
    def source(self) -> str:
        return "tm_front_mel"

    @property
    def scratch_bytes(self) -> int:
        return (self.fft + 2 + self.channels) * 4

    def params(self) -> Mapping[str, Any]:
        starts, counts, weights, _ = self.filterbank
        return {
            "length": self.length,
            "order": self.order,
            "channels": self.channels,
            "coefficients": 0,
            "each": int(len(self.units) > 1),
            "power": self.power,
            "base": self.base,
            "floor": self.floor_units,
            "window": self.coefficients,
            "twiddles": self.twiddles,
            "starts": np.array(starts, np.uint16),
            "counts": np.array(counts, np.uint16),
            "weights": weights,
            "logs": LOG_TABLE,
            "cosines": None,
        }


@dataclass(frozen=True)
class Mfcc(LogMel):
    """The first ``coefficients`` of the cosine transform (DCT-II) of each row of logarithms.

    ``norm`` "tf": all times sqrt(2 / channels), as tf.signal; "ortho": the first times
    sqrt(1 / channels), as librosa.
    """

    kind: ClassVar[str] = "mfcc"

    cepstral: int = 10
    norm: str = "tf"

    def check(self, at: str) -> None:
        super().check(at)
        self.within("cepstral", 1, self.channels, at)
        self.one_of("norm", ("tf", "ortho"), at)

    @property
    def row(self) -> int:
        return self.cepstral

    @cached_property
    def cosines(self) -> np.ndarray:
        """[cepstral, channels], 14 bits of fraction."""
        k, n = np.arange(self.cepstral)[:, None], np.arange(self.channels)
        reals = np.cos(np.pi * k * (n + 0.5) / self.channels)
        return np.rint(reals * (1 << DCT_BITS)).astype(np.int16)

    @property
    def units(self) -> tuple[tuple[float, float], ...]:
        ((scale, offset),) = super().units
        scale *= sqrt(2 / self.channels)
        if self.norm == "tf":
            return ((scale, offset),)
        return ((scale / sqrt(2), offset), *([(scale, offset)] * (self.cepstral - 1)))

    def _finish(self, logs: np.ndarray) -> np.ndarray:
        sums = logs.astype(np.int64) @ self.cosines.T.astype(np.int64)
        return ((sums + (1 << (DCT_BITS - 1))) >> DCT_BITS).astype(np.int32)

    def params(self) -> Mapping[str, Any]:
        return {**super().params(), "coefficients": self.cepstral, "cosines": self.cosines}


def log2_of(x: np.ndarray) -> np.ndarray:
    """log2 of int64 numbers above 0, 16 bits of fraction, by a table of 128 segments."""
    whole = bits_of(x) - 1
    up, down = np.maximum(16 - whole, 0), np.maximum(whole - 16, 0)
    rest = ((x << up) >> down) - (1 << 16)
    segment = rest >> 9
    table = LOG_TABLE.astype(np.int64)
    c0, c1 = table[segment], table[segment + 1]
    return (whole << 16) + rest + c0 + (((c1 - c0) * (rest & 511)) >> 9)


def _root(x: np.ndarray) -> np.ndarray:
    """Square roots, rounded down to 16 significant bits."""
    shift = (np.maximum(bits_of(x) - 32, 0) + 1) & ~1
    return np.sqrt((x >> shift).astype(np.float64)).astype(np.int64) << (shift >> 1)


def _times(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Complex products with twiddles, rounded."""
    w = w.astype(np.int64)
    real = x[..., 0] * w[..., 0] - x[..., 1] * w[..., 1]
    imaginary = x[..., 0] * w[..., 1] + x[..., 1] * w[..., 0]
    half = 1 << (TWIDDLE_BITS - 1)
    return (np.stack([real, imaginary], axis=-1) + half) >> TWIDDLE_BITS


def _htk_mel(hz: float) -> float:
    return 1127.0 * log(1 + hz / 700.0)


def _slaney_mel(hz: float) -> float:
    """Linear below 1000 Hz, then 27 steps to each factor of 6.4."""
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * log(hz / 1000) / log(6.4)


def _slaney_hz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)
