"""What goes into a run and what comes out, as arrays in the source model's layout."""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from .errors import InvalidInput, InvalidModel
from .frontends import Bound, load
from .frontends.sensors import AudioSource, BoundPicture, FrontEnd
from .ir import DType, Quant, TensorType

PATTERN = "pattern"
DTYPES = ("int8", "uint8", "int16", "int32", "int64", "float32", "bool")
PICTURES = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".webp", ".tif", ".tiff")
ANSWERS = ("y", "labels")
"""Names that labels may have in a .npz."""
MOST = 1 << 31


@dataclass(frozen=True)
class End:
    """One input or output of a compiled model, as plan.json describes it.

    ``shape`` is the source's, ``order`` permutes it into the bytes' order. ``scale`` and
    ``zero_point`` are those of integers; for a float input those of its first quantisation,
    or None. ``stream_axis`` counts the rows of a stream of which the array is the next piece.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    order: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    stream_axis: int | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> End:
        """From an entry of plan.json. Raises ``InvalidModel``."""
        scale, zero_point = entry.get("scale"), entry.get("zero_point")
        shape, order, axis = entry.get("shape"), entry.get("order"), entry.get("stream_axis")
        if (
            not isinstance(entry.get("name"), str)
            or entry.get("dtype") not in DTYPES
            or not isinstance(shape, list)
            or not all(type(n) is int and 0 < n < MOST for n in shape)
            or prod(shape) > MOST
            or not isinstance(order, list)
            or not all(type(axis) is int for axis in order)
            or sorted(order) != list(range(len(shape)))
            or not (scale is None or (isinstance(scale, int | float) and 0 < scale < inf))
            or not (zero_point is None or (isinstance(zero_point, int) and abs(zero_point) < MOST))
            or not (axis is None or (type(axis) is int and 0 <= axis < len(shape)))
        ):
            raise InvalidModel("plan.json describes an input or output wrongly")
        return cls(
            entry["name"], np.dtype(entry["dtype"]), tuple(shape), tuple(order), scale, zero_point,
            axis,
        )  # fmt: skip

    def pieces(self, array: np.ndarray) -> np.ndarray | None:
        """A stream cut into arrays, along a new first axis; None where it is none of this shape or
        ends within a piece."""
        axis = self.stream_axis
        if axis is None or array.ndim != len(self.shape):
            return None
        rest = array.shape[:axis] + array.shape[axis + 1 :]
        count, left = divmod(array.shape[axis], self.shape[axis])
        if rest != self.shape[:axis] + self.shape[axis + 1 :] or left or not count:
            return None
        return np.stack(np.split(array, count, axis))

    @property
    def size(self) -> int:
        """Bytes of one array."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def to_bytes(self, array: np.ndarray) -> bytes:
        """A source-layout array as the bytes that the C reads."""
        return np.ascontiguousarray(array.transpose(self.order)).tobytes()

    def from_bytes(self, raw: bytes) -> np.ndarray:
        """The bytes that the C wrote as a source-layout array."""
        ours = tuple(self.shape[axis] for axis in self.order)
        array = np.frombuffer(raw, self.dtype).reshape(ours)
        return np.asarray(array.transpose(np.argsort(self.order)), order="C")


def pattern(end: End) -> np.ndarray:
    """The test input of shared/baselines.json for one input.

    x[i] = int8((((uint32(i) * 1103515245 + 12345) >> 16) & 0xff) - 128); as uint8 x + 128, as
    int16 x * 256, as float scale * (x - zero_point) of the input's first quantisation (1/128
    and 0 where there is none).
    """
    count = int(np.prod(end.shape, dtype=np.int64))
    i = np.arange(count, dtype=np.uint32)
    draws = ((i * np.uint32(1103515245) + np.uint32(12345)) >> np.uint32(16)) & np.uint32(0xFF)
    x = draws.astype(np.int64) - 128
    if end.dtype == np.float32:
        scale = np.float32(1 / 128 if end.scale is None else end.scale)
        return (scale * (x - (end.zero_point or 0)).astype(np.float32)).reshape(end.shape)
    if end.dtype == np.uint8:
        x = x + 128
    elif end.dtype == np.int16:
        x = x * 256
    return x.astype(end.dtype).reshape(end.shape)


def frames_of(
    sources: Sequence[str | Path | np.ndarray],
    ends: Sequence[End],
    *,
    mean: float | None = None,
    std: float | None = None,
    resize: bool = False,
) -> tuple[bytes, int]:
    """The bytes of all frames and their number: ``columns_of``, frame by frame."""
    columns, count = columns_of(sources, ends, mean=mean, std=std, resize=resize)
    return join_frames(columns, ends, count), count


def columns_of(
    sources: Sequence[str | Path | np.ndarray],
    ends: Sequence[End],
    *,
    mean: float | None = None,
    std: float | None = None,
    resize: bool = False,
) -> tuple[list[np.ndarray], int]:
    """For each input an array [frames or 1, *its shape], and the number of frames.

    ``sources`` are one for each input (a single "pattern" or .npz serves all): arrays, .npy
    files, .npz with an array named as the input (for a single input also x, or its only one),
    images, folders of images. An array with one more leading axis, or a longer first axis where
    the model's is 1, is a sequence of frames, and so is a stream of several steps. Raises
    ``InvalidInput``.
    """
    if len(sources) == 1 and not isinstance(sources[0], np.ndarray):
        shared = str(sources[0]) == PATTERN or Path(sources[0]).suffix == ".npz"
        sources = [sources[0]] * len(ends) if shared else sources
    if len(sources) != len(ends):
        names = ", ".join(end.name for end in ends)
        raise InvalidInput(f"{len(sources)} inputs given, the model has {len(ends)} ({names})")
    columns = []
    for source, end in zip(sources, ends, strict=True):
        array = _load(source, end, mean=mean, std=std, resize=resize)
        if array.shape == end.shape:
            columns.append(array[None])
        elif (pieces := end.pieces(array)) is not None:
            columns.append(pieces)
        elif array.shape[1:] == end.shape and len(array):
            columns.append(array)
        elif end.shape[:1] == (1,) and array.shape[1:] == end.shape[1:] and len(array):
            # a batch for a model of batch 1
            columns.append(array[:, None])
        else:
            raise InvalidInput(
                f"shape {list(array.shape)}, the model wants {list(end.shape)}",
                at=_label(source, end),
            )
    count = max((len(column) for column in columns), default=1)
    if any(len(column) not in (1, count) for column in columns):
        told = ", ".join(
            f"{end.name} of {len(column)}" for end, column in zip(ends, columns, strict=True)
        )
        raise InvalidInput(f"inputs of several numbers of frames: {told}")
    return columns, count


def join_frames(columns: Sequence[np.ndarray], ends: Sequence[End], count: int) -> bytes:
    """The bytes of ``count`` frames, each all inputs one after the other; a column of one frame
    serves all."""
    return b"".join(
        end.to_bytes(column[index if len(column) > 1 else 0])
        for index in range(count)
        for column, end in zip(columns, ends, strict=True)
    )


def bound_front(front: FrontEnd, ends: Sequence[End], entry: Any) -> Bound:
    """A front end before the input that plan.json tells of. Raises ``InvalidModel``."""
    shape = entry.get("input_shape") if isinstance(entry, Mapping) else None
    if (
        len(ends) != 1
        or not isinstance(shape, list)
        or not all(type(n) is int and 0 < n < MOST for n in shape)
        or prod(shape) != prod(ends[0].shape)
    ):
        raise InvalidModel("plan.json describes a front end wrongly")
    end = ends[0]
    quant = None
    if end.scale is not None and end.dtype != np.float32:
        quant = Quant((end.scale,), (end.zero_point or 0,))
    kind = TensorType(tuple(shape), DType.of(end.dtype), quant)
    return front.bind(kind, at=f"input '{end.name}'")


def sensor_data(
    sources: Sequence[str | Path | np.ndarray], ends: Sequence[End], entry: Any
) -> tuple[bytes, int]:
    """The bytes that a front end's C takes, and the number of inferences they give.

    ``sources`` is one: an array, a .npy file, "pattern", a .wav file for audio, an image for
    pictures; ``entry`` the front end in plan.json. Raises ``InvalidInput``.
    """
    spec = entry.get("spec") if isinstance(entry, Mapping) else None
    if not isinstance(spec, Mapping):
        raise InvalidModel("plan.json describes a front end wrongly")
    front = bound_front(load(spec), ends, entry)
    if len(sources) != 1:
        raise InvalidInput(f"{len(sources)} inputs given, the front end takes one")
    source = sources[0]
    data = _sensor_array(source, front)
    try:
        raw, count = front.raw(data), front.inferences(data)
    except InvalidInput as error:
        raise InvalidInput(error.problem, at=_label(source), hint=error.hint) from error
    if count == 0:
        there, needed = ("x".join(map(str, shape)) for shape in (data.shape, front.needed))
        raise InvalidInput(f"too short for an inference: {there} of {needed}", at=_label(source))
    return raw, count


def _sensor_array(source: str | Path | np.ndarray, front: Bound) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return source
    if str(source) == PATTERN:
        return front.example()
    path = Path(source)
    if path.suffix == ".npy":
        return _read_npy(path)
    if isinstance(front, BoundPicture):
        picture = front.front
        channels = 1 if picture.format == "gray" else 3
        hint = "the front end has width and height"
        pixels = _pixels(path, picture.width, picture.height, channels, resize=False, hint=hint)
        return picture.of_rgb(pixels)
    if isinstance(front.front, AudioSource):
        return _read_wav(path, front.front.rate)
    raise InvalidInput("is no .npy file", at=str(path))


def _read_wav(path: Path, rate: int) -> np.ndarray:
    """The samples of a .wav file of one channel and 16 bits."""
    _need_file(path)
    try:
        with wave.open(str(path), "rb") as file:
            form = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            if form == (1, 16, rate):
                return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
    except OSError as error:
        raise InvalidInput(error.strerror or "can't be read", at=str(path)) from error
    except Exception as error:  # the reader raises anything on broken files
        raise InvalidInput(f"no .wav of 16-bit samples ({error})", at=str(path)) from error
    channels, bits, found = form
    raise InvalidInput(
        f"{channels} channel{'s' if channels > 1 else ''} of {bits} bits at {found} Hz, the front "
        f"end takes 1 of 16 bits at {rate} Hz",
        at=str(path),
    )


def outputs_of(raw: bytes, ends: Sequence[End], count: int) -> list[np.ndarray]:
    """One array for each output; with several frames they get a leading axis."""
    rows: list[list[np.ndarray]] = [[] for _ in ends]
    place = 0
    for _ in range(count):
        for row, end in zip(rows, ends, strict=True):
            row.append(end.from_bytes(raw[place : place + end.size]))
            place += end.size
    return [row[0] if count == 1 else np.stack(row) for row in rows]


def _label(source: str | Path | np.ndarray, end: End | None = None) -> str:
    if not isinstance(source, np.ndarray):
        return str(source)
    return "input" if end is None else f"input '{end.name}'"


def _load(
    source: str | Path | np.ndarray,
    end: End,
    *,
    mean: float | None,
    std: float | None,
    resize: bool,
) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return _typed(source, end, _label(source, end))
    if str(source) == PATTERN:
        return pattern(end)
    path = Path(source)
    if path.suffix == ".npy":
        return _typed(_read_npy(path), end, str(path))
    if path.suffix == ".npz":
        return _typed(_member(path, end), end, str(path))
    if path.is_dir():
        files = pictures_in(path)
        if not files:
            raise InvalidInput("no pictures in this folder", at=str(path))
        return np.stack([picture(file, end, mean=mean, std=std, resize=resize) for file in files])
    return picture(path, end, mean=mean, std=std, resize=resize)


def _read_npy(path: Path) -> np.ndarray:
    _need_file(path)
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InvalidInput(error.strerror or "can't be read", at=str(path)) from error
    except Exception as error:  # numpy evaluates the header: a broken one raises anything
        raise InvalidInput(f"no .npy array ({error})", at=str(path)) from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name. Raises ``InvalidInput``."""
    _need_file(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise InvalidInput(error.strerror or "can't be read", at=str(path)) from error
    except Exception as error:  # numpy evaluates headers: a broken one raises anything
        raise InvalidInput(f"no .npz archive ({error})", at=str(path)) from error


def _member(path: Path, end: End) -> np.ndarray:
    arrays = read_npz(path)
    rest = [name for name in arrays if name not in ANSWERS]
    name = end.name if end.name in arrays else "x" if "x" in arrays or len(rest) != 1 else rest[0]
    if name not in arrays:
        raise InvalidInput(f"no array for the input '{end.name}'", at=str(path))
    return arrays[name]


def pictures_in(folder: Path) -> list[Path]:
    """The images of a folder, in the order of their names. Raises ``InvalidInput``."""
    try:
        return sorted(
            path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()
        )
    except OSError as error:
        raise InvalidInput(error.strerror or "can't be read", at=str(folder)) from error


def _need_file(path: Path) -> None:
    """Raises ``InvalidInput`` where ``path`` is no file that can be read from both ends."""
    try:
        path.stat()
        regular = path.is_file()
    except (OSError, ValueError) as error:
        raise InvalidInput(getattr(error, "strerror", None) or "no path", at=str(path)) from error
    if not regular:
        raise InvalidInput("not a file", at=str(path))


def _typed(array: np.ndarray, end: End, at: str) -> np.ndarray:
    """The array in the input's type, where that loses nothing."""
    if array.dtype == end.dtype:
        return array
    if array.dtype.kind not in "iufb":
        raise InvalidInput(f"type {array.dtype}, the model wants {end.dtype}", at=at)
    if end.dtype == np.float32 and array.dtype.kind in "iuf":
        return array.astype(np.float32)
    if array.dtype.kind == "f":
        raise InvalidInput(
            f"type {array.dtype}, the model wants {end.dtype}",
            at=at,
            hint="quantise it, or run with --io float",
        )
    limits = np.iinfo(end.dtype) if end.dtype.kind in "iu" else None
    if limits is not None and array.size and (array.min() < limits.min or array.max() > limits.max):
        raise InvalidInput(f"values outside the range of {end.dtype}", at=at)
    return array.astype(end.dtype)


def picture(
    path: Path, end: End, *, mean: float | None, std: float | None, resize: bool
) -> np.ndarray:
    """A picture as an input [1, H, W, C] or [1, C, H, W] with 1 or 3 channels.

    8-bit integers get the pixels themselves, moved to the type's range (int8: pixel - 128);
    with ``mean`` and ``std``, and for floats (defaults 0 and 255), the real (pixel - mean) /
    std, quantised where the input is.
    """
    height, width, channels, first = picture_shape(end, path)
    if not (isfinite(mean or 0.0) and isfinite(std or 0.0)) or std == 0.0:
        raise InvalidInput(f"mean {mean} and std {std} scale nothing", at=str(path))
    pixels = _pixels(path, width, height, channels, resize=resize, hint="--resize scales it")
    values = pixels.transpose(2, 0, 1) if first else pixels
    values = values.reshape(end.shape)
    plain = mean is None and std is None
    if plain and end.dtype in (np.dtype(np.int8), np.dtype(np.uint8)):
        return (values.astype(np.int16) + np.iinfo(end.dtype).min).astype(end.dtype)
    real = (values.astype(np.float32) - np.float32(mean or 0.0)) / np.float32(std or 255.0)
    if end.dtype == np.float32:
        return real
    if end.scale is None:
        raise InvalidInput(f"an image for an input of type {end.dtype}", at=str(path))
    q = np.rint(real / np.float32(end.scale)) + (end.zero_point or 0)
    limits = np.iinfo(end.dtype)
    return np.clip(q, limits.min, limits.max).astype(end.dtype)


def _pixels(
    path: Path, width: int, height: int, channels: int, *, resize: bool, hint: str
) -> np.ndarray:
    """A picture file as uint8 [height, width, channels]."""
    _need_file(path)
    try:
        with Image.open(path, formats=PICTURES) as file:
            if file.size != (width, height) and not resize:
                raise InvalidInput(
                    f"{file.width}x{file.height} pixels, {width}x{height} are wanted",
                    at=str(path),
                    hint=hint,
                )
            if file.mode.startswith(("I", "F")):
                raise InvalidInput(f"more than 8 bits a pixel (mode {file.mode})", at=str(path))
            picture = file.convert("L" if channels == 1 else "RGB")
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(picture, np.uint8).reshape(height, width, channels)
    except InvalidInput:
        raise
    except UnidentifiedImageError as error:
        raise InvalidInput("neither .npy nor an image", at=str(path)) from error
    except Exception as error:  # the decoders raise anything on broken files
        reason = getattr(error, "strerror", None) or "a broken image"
        raise InvalidInput(reason, at=str(path)) from error


def picture_shape(end: End, path: Path) -> tuple[int, int, int, bool]:
    """Height, width, channels, and whether channels come first."""
    shape = end.shape
    if len(shape) == 4 and shape[0] == 1:
        if shape[3] in (1, 3):
            return shape[1], shape[2], shape[3], False
        if shape[1] in (1, 3):
            return shape[2], shape[3], shape[1], True
    raise InvalidInput(
        f"the input '{end.name}' of shape {list(shape)} is no picture",
        at=str(path),
        hint="use .npy",
    )
