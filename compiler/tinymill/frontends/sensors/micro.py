"""The micro frontend: the features of TensorFlow Lite Micro's speech and wake-word models.

Fixed-point arithmetic throughout, as the library in TensorFlow (lite/experimental/microfrontend)
defines it: window, 16-bit FFT, mel filterbank, noise reduction, per-channel energy normalisation
(PCAN), logarithm. Values are those of that library, byte for byte; this is its numpy twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import cos, floor, pi, sin
from typing import Any, ClassVar

import numpy as np

from ...errors import InvalidInput
from .fixed import LOG_TABLE, log1p32, msb
from .source import CHUNK, AudioSource

WINDOW_BITS = 12
FILTER_BITS = 12
NOISE_BITS = 14
SNR_BITS = 12
OUTPUT_BITS = 6
GAIN_BITS = 21
STEP = 10 / 256
"""The real value of one step, as the models' training scripts have it."""


@dataclass(frozen=True)
class Micro(AudioSource):
    """One row of ``channels`` features for each hop of samples."""

    kind: ClassVar[str] = "micro"

    hop_ms: float = 10.0
    channels: int = 40
    low_hz: float = 125.0
    high_hz: float = 7500.0
    smoothing_bits: int = 10
    even_smoothing: float = 0.025
    odd_smoothing: float = 0.06
    min_signal: float = 0.05
    pcan: bool = True
    pcan_strength: float = 0.95
    pcan_offset: float = 80.0
    log: bool = True
    log_shift: int = 6
    step: float = STEP

    def check(self, at: str) -> None:
        super().check(at)
        for name, least, most in (("smoothing_bits", 0, 15), ("log_shift", 0, 10)):
            self.within(name, least, most, at)
        for name in ("even_smoothing", "odd_smoothing", "min_signal"):
            self.within(name, 0.0, 1.0, at)
        self.within("channels", 1, 256, at)
        self.within("pcan_strength", 0.0, 4.0, at)
        self.within("pcan_offset", 1e-3, 1e9, at)
        self.within("step", 1e-9, 1e9, at)
        self.check_band(self.low_hz, self.high_hz, at)
        if self.fft < 64:
            raise InvalidInput(f"an FFT of {self.fft} points, 64 are the least", at=at)
        if self.smoothing_bits < self.correction:
            raise InvalidInput(f"smoothing_bits below {self.correction}", at=at)
        _, starts, widths, _, _ = self.filterbank
        ends = [a + b for a, b in zip(starts, widths, strict=True)]
        if not sum(widths):
            raise InvalidInput("no bin of the FFT lies in a band", at=at)
        if max(ends) > self.fft // 2:
            raise InvalidInput("high_hz reaches the last bins of the FFT", at=at)

    @property
    def row(self) -> int:
        return self.channels

    @property
    def units(self) -> tuple[tuple[float, float], ...]:
        return ((self.step, 0.0),)

    @property
    def correction(self) -> int:
        """Bits by which energies are below those that the tables are made for."""
        return msb(self.fft) - 1 - FILTER_BITS // 2

    # -- tables ---------------------------------------------------------------------------

    @cached_property
    def coefficients(self) -> np.ndarray:
        """The Hann window, 12 bits of fraction."""
        f32 = np.float32
        step = f32(f32(2 * pi) / f32(self.length))
        reals = [
            f32(f32(0.5) - f32(0.5) * f32(cos(step * f32(i + 0.5)))) for i in range(self.length)
        ]
        return np.array([_rounded(x) for x in reals], np.int16)

    @cached_property
    def twiddles(self) -> np.ndarray:
        """exp(-2 pi i k / n) for the n = fft / 2 complex points, 15 bits: [n, 2]."""
        n = self.fft // 2
        return _circle([-2 * pi * k / n for k in range(n)])

    @cached_property
    def split_twiddles(self) -> np.ndarray:
        """-i exp(-2 pi i k / fft) for k = 1 to fft / 4: [fft / 4, 2]."""
        n = self.fft // 2
        return _circle([-pi * ((k + 1) / n + 0.5) for k in range(n // 2)])

    @cached_property
    def filterbank(self) -> tuple[int, list[int], list[int], np.ndarray, np.ndarray]:
        """First bin; first bin and bins of each band (one more than channels); each bin's weight
        for its band's channel and for the one before, 12 bits."""
        f32 = np.float32

        def mel(hz: np.float32) -> np.float32:
            return f32(1127.0) * log1p32(hz / f32(700.0))

        low, high = mel(f32(self.low_hz)), mel(f32(self.high_hz))
        spacing = (high - low) / f32(self.channels + 1)
        centers = [low + spacing * f32(i + 1) for i in range(self.channels + 1)]
        bins = self.fft // 2 + 1
        per_bin = f32(0.5 * self.rate) / f32(bins - 1)
        first = int(f32(1.5) + f32(self.low_hz) / per_bin)
        starts, widths = [], []
        weights: list[int] = []
        others: list[int] = []
        at = first
        for band, center in enumerate(centers):
            end = at
            while mel(f32(end) * per_bin) <= center:
                end += 1
            starts.append(at)
            widths.append(end - at)
            before = low if band == 0 else centers[band - 1]
            for bin in range(at, end):
                here = mel(f32(bin) * per_bin)
                weight = (center - here) / (center - before)
                weights.append(_rounded(weight))
                others.append(_rounded(f32(1.0) - weight))
            at = end
        return first, starts, widths, np.array(weights, np.uint16), np.array(others, np.uint16)

    @cached_property
    def gains(self) -> np.ndarray:
        """PCAN's gain over the noise estimate: values at 0, 1 and 2, then for each power of two
        from 4 on three coefficients of a parabola. 2^21 (x + offset)^-strength, 16 bits."""
        bits = self.smoothing_bits - self.correction
        f32 = np.float32

        def gain(x: int) -> int:
            base = f32(x) / f32(1 << bits) + f32(self.pcan_offset)
            value = f32(1 << GAIN_BITS) * f32(float(base) ** float(f32(-self.pcan_strength)))
            return 0x7FFF if value > 0x7FFF else int(value + f32(0.5))

        table = [gain(0), gain(1), gain(2)]
        for interval in range(2, 33):
            x0 = 1 << (interval - 1)
            y0 = gain(x0)
            x2 = 0xFFFFFFFF if interval == 32 else 2 * x0
            d1 = gain(x0 + (x0 >> 1)) - y0
            d2 = gain(x2) - y0
            a1 = 4 * d1 - d2
            table += [y0, a1, d2 - a1]
        return np.array(table, np.int32).astype(np.int16)

    @property
    def smoothing(self) -> tuple[int, int, int]:
        """Of even and odd channels, and the least part of the signal that remains; 14 bits."""
        reals = self.even_smoothing, self.odd_smoothing, self.min_signal
        even, odd, least = (int(np.float32(x) * np.float32(1 << NOISE_BITS)) for x in reals)
        return even, odd, least

    # -- the twin -------------------------------------------------------------------------

    def values(self, samples: np.ndarray) -> np.ndarray:
        """The features before they are scaled: int32 [rows, channels], 0 to 65535."""
        windows = self.slices(samples)
        estimate = np.zeros(self.channels, np.uint64)
        rows = np.zeros((len(windows), self.channels), np.int32)
        for start in range(0, len(windows), CHUNK):
            chunk = windows[start : start + CHUNK].astype(np.int32)
            windowed = ((chunk * self.coefficients) >> WINDOW_BITS).astype(np.int16)
            for index, row in enumerate(self._energies(windowed), start):
                clean, estimate = self._noise(row, estimate)
                if self.pcan:
                    clean = self._pcan(clean, estimate)
                rows[index] = self._log(clean)
        return rows

    def _energies(self, windowed: np.ndarray) -> np.ndarray:
        """The square root of each channel's energy: uint64 [frames, channels]."""
        # -32768 has no absolute value of 16 bits, and so it doesn't count
        most = np.abs(windowed.astype(np.int32)) * (windowed > -32768)
        shift = 15 - np.array([msb(int(m)) for m in most.max(axis=1, initial=0)], np.int64)
        shift = np.where(shift == 15, 0, shift)
        scaled = (windowed.astype(np.int64) << shift[:, None]).astype(np.int16)
        spectrum = self._transform(scaled).astype(np.int64)
        energy = (spectrum**2).sum(axis=2) & 0xFFFFFFFF
        _, starts, widths, weights, others = self.filterbank
        sums = np.zeros((len(windowed), self.channels), np.uint64)
        carried = np.zeros(len(windowed), np.int64)
        place = 0
        for band, (start, width) in enumerate(zip(starts, widths, strict=True)):
            part = energy[:, start : start + width]
            own = carried + part @ weights[place : place + width].astype(np.int64)
            carried = part @ others[place : place + width].astype(np.int64)
            place += width
            if band > 0:
                sums[:, band - 1] = own.astype(np.uint64)
        return np.array(
            [[root(int(x)) >> int(s) for x in row] for row, s in zip(sums, shift, strict=True)],
            np.uint64,
        ).reshape(sums.shape)

    def _transform(self, scaled: np.ndarray) -> np.ndarray:
        """The spectrum of each frame: int [frames, fft / 2 + 1, 2], scaled by 1 / fft."""
        n = self.fft // 2
        data = np.zeros((len(scaled), self.fft), np.int16)
        data[:, : self.length] = scaled
        buffer = data.reshape(-1, n, 2)[:, _source_order(n)].astype(np.int32)
        m = 1
        for radix in reversed(_factors(n)):
            buffer = self._stage(buffer, radix, m)
            m *= radix
        out = np.zeros((len(scaled), n + 1, 2), np.int32)
        ends = _divided(buffer[:, 0], 2)
        out[:, 0, 0] = _wrapped(ends[:, 0] + ends[:, 1])
        out[:, n, 0] = _wrapped(ends[:, 0] - ends[:, 1])
        k = np.arange(1, n // 2 + 1)
        here = _divided(buffer[:, k], 2)
        there = _divided(_wrapped(buffer[:, n - k] * np.array([1, -1])), 2)
        even, odd = _wrapped(here + there), _wrapped(here - there)
        turned = _times(odd, self.split_twiddles.astype(np.int64))
        out[:, k] = (even + turned) >> 1
        out[:, n - k, 0] = (even - turned)[:, :, 0] >> 1
        out[:, n - k, 1] = (turned - even)[:, :, 1] >> 1
        return out

    def _stage(self, buffer: np.ndarray, radix: int, m: int) -> np.ndarray:
        """Butterflies over blocks of ``radix`` * ``m`` points."""
        n = buffer.shape[1]
        blocks = buffer.reshape(len(buffer), -1, radix, m, 2)
        step = n // (radix * m)
        parts = [_divided(blocks[:, :, q], radix) for q in range(radix)]
        k = np.arange(m)
        for q in range(1, radix):
            parts[q] = _times(parts[q], self.twiddles[(k * q * step) % n].astype(np.int64))
        if radix == 2:
            found = [parts[0] + parts[1], parts[0] - parts[1]]
        else:
            differing = _wrapped(parts[0] - parts[2])
            common = _wrapped(parts[0] + parts[2])
            across = _wrapped(parts[1] + parts[3])
            turned = _wrapped(parts[1] - parts[3])[..., ::-1] * np.array([1, -1])
            found = [common + across, differing + turned, common - across, differing - turned]
        return _wrapped(np.stack(found, axis=2)).reshape(buffer.shape)

    def _noise(self, signal: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        even, odd, least = (np.uint64(x) for x in self.smoothing)
        one = np.uint64(1 << NOISE_BITS)
        bits, fraction = np.uint64(self.smoothing_bits), np.uint64(NOISE_BITS)
        mask = np.uint64(0xFFFFFFFF)
        part: np.ndarray = np.where(np.arange(self.channels) % 2 == 0, even, odd)
        scaled: np.ndarray = (signal << bits) & mask
        estimate = ((scaled * part + estimate * (one - part)) >> fraction) & mask
        kept = (signal * least) >> fraction
        left = (scaled - np.minimum(estimate, scaled)) >> bits
        return np.maximum(left, kept), estimate

    def _pcan(self, signal: np.ndarray, estimate: np.ndarray) -> np.ndarray:
        shift = GAIN_BITS - self.correction - SNR_BITS
        found = np.zeros(len(signal), np.uint64)
        for i, (value, noise) in enumerate(zip(signal.tolist(), estimate.tolist(), strict=True)):
            ratio = (value * self._gain(noise) >> shift) & 0xFFFFFFFF
            if ratio < 2 << SNR_BITS:
                found[i] = (ratio * ratio & 0xFFFFFFFF) >> (2 + 2 * SNR_BITS - OUTPUT_BITS)
            else:
                found[i] = (ratio >> (SNR_BITS - OUTPUT_BITS)) - (1 << OUTPUT_BITS)
        return found

    def _gain(self, noise: int) -> int:
        if noise <= 2:
            return int(self.gains[noise])
        interval = msb(noise)
        y0, a1, a2 = (int(x) for x in self.gains[3 * interval - 3 : 3 * interval])
        part = noise << (11 - interval) if interval < 11 else noise >> (interval - 11)
        part &= 0x3FF
        result = (((a2 * part) >> 5) + (a1 << 5)) * part
        result = ((result + (1 << 14)) >> 15) + y0
        return (result + 0x8000 & 0xFFFF) - 0x8000

    def _log(self, signal: np.ndarray) -> np.ndarray:
        values = [(x << self.correction) & 0xFFFFFFFF for x in signal.tolist()]
        if self.log:
            values = [logarithm(x, self.log_shift) if x > 1 else 0 for x in values]
        return np.minimum(values, 0xFFFF)

    # -- the C ----------------------------------------------------------------------------

    @property
    def source(self) -> str:
        return "tm_front_micro"

    @property
    def state(self) -> tuple[tuple[str, str, int, str], ...]:
        noise = ("uint32_t", "noise", self.channels, "the estimate of each channel's noise")
        return (*super().state, noise)

    @property
    def scratch_bytes(self) -> int:
        return (self.fft // 2 + 1) * 4

    def params(self) -> Mapping[str, Any]:
        even, odd, least = self.smoothing
        _, starts, widths, weights, others = self.filterbank
        return {
            "length": self.length,
            "fft": self.fft,
            "channels": self.channels,
            "first": starts[0],
            "correction": self.correction,
            "smoothing_bits": self.smoothing_bits,
            "even": even,
            "odd": odd,
            "least": least,
            "log_shift": self.log_shift if self.log else -1,
            "coefficients": self.coefficients,
            "twiddles": self.twiddles,
            "split": self.split_twiddles,
            "widths": np.array(widths, np.uint16),
            "weights": weights,
            "others": others,
            "snr_shift": GAIN_BITS - self.correction - SNR_BITS,
            "gains": self.gains if self.pcan else None,
            "logs": LOG_TABLE,
        }


def _rounded(x: np.float32) -> int:
    """``x`` with 12 bits of fraction."""
    return floor(x * np.float32(1 << FILTER_BITS) + np.float32(0.5))


def _circle(phases: list[float]) -> np.ndarray:
    pairs = [(floor(0.5 + 32767 * cos(p)), floor(0.5 + 32767 * sin(p))) for p in phases]
    return np.array(pairs, np.int16)


def _factors(n: int) -> list[int]:
    """4, as often as it goes, then 2; the first is the outermost stage."""
    found = []
    while n > 1:
        found.append(4 if n % 4 == 0 else 2)
        n //= found[-1]
    return found


def _source_order(n: int) -> np.ndarray:
    """For each place of the buffer the point that comes there."""
    order = np.zeros(n, np.int64)
    for point in range(n):
        place, rest, m = 0, point, n
        for radix in _factors(n):
            m //= radix
            place += rest % radix * m
            rest //= radix
        order[place] = point
    return order


def _wrapped(x: np.ndarray) -> np.ndarray:
    return x.astype(np.int16).astype(np.int32)


def _divided(x: np.ndarray, by: int) -> np.ndarray:
    return _wrapped((x.astype(np.int64) * (32767 // by) + (1 << 14)) >> 15)


def _times(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Complex products, 15 bits of fraction, wrapped to 16 bits."""
    x = x.astype(np.int64)
    real = x[..., 0] * w[..., 0] - x[..., 1] * w[..., 1]
    imaginary = x[..., 0] * w[..., 1] + x[..., 1] * w[..., 0]
    return _wrapped((np.stack([real, imaginary], axis=-1) + (1 << 14)) >> 15)


def root(x: int) -> int:
    """The square root, rounded; of numbers below 2^32 at most 65535."""
    if x == 0:
        return 0
    wide = x >> 32 != 0
    most = 0xFFFFFFFF if wide else 0xFFFF
    result = 0
    bit = 1 << ((msb(x) - 1) & ~1)
    while bit:
        if x >= result + bit:
            x -= result + bit
            result = (result >> 1) + bit
        else:
            result >>= 1
        bit >>= 2
    return result + 1 if x > result and result != most else result


def logarithm(x: int, shift: int) -> int:
    """2^shift ln(x) for x > 0, rounded; the logarithm to base 2 by a table of 128 segments, between
    whose ends the library goes but 1 / 128 of the way."""
    whole = msb(x) - 1
    rest = x - (1 << whole)
    rest = rest << (16 - whole) if whole < 16 else rest >> (whole - 16)
    segment = rest >> 9
    c0, c1 = int(LOG_TABLE[segment]), int(LOG_TABLE[segment + 1])
    slope = ((c1 - c0) * (rest - (segment << 9))) >> 16
    log2 = (whole << 16) + rest + c0 + slope
    natural = (45426 * log2 + 0x8000) >> 16
    return ((natural << shift) + 0x8000) >> 16
