"""Samples to calibrate and to measure with: arrays, pictures, pictures in folders of classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InvalidInput
from ..samples import ANSWERS, End, columns_of, picture, picture_shape, pictures_in, read_npz

LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True)
class Preparation:
    """How samples become real inputs: (value - mean) / std, one number or one for each channel.

    The mean is 0 unless given, the std 255 for pixels of pictures and 1 for arrays. ``layout``
    says where arrays of four axes have their channels, if not where the model has them.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and not (values and np.isfinite(values).all()):
                told = ", ".join(f"{value:g}" for value in values) or "of no numbers"
                raise InvalidInput(
                    f"{name} {told}", hint="one finite number, or one for each channel"
                )
        if self.std is not None and 0.0 in self.std:
            raise InvalidInput("a std of 0 scales nothing")
        if self.layout not in (None, *LAYOUTS):
            raise InvalidInput(f"layout {self.layout!r}", hint=f"one of {', '.join(LAYOUTS)}")

    def scaled(self, values: np.ndarray, end: End, *, pixels: bool) -> np.ndarray:
        """float32 [..., *shape of the input] as the model wants it."""
        if not pixels and self.mean is None and self.std is None:
            return values
        mean, std = self.mean or (0.0,), self.std or (255.0 if pixels else 1.0,)
        shape = [1] * values.ndim
        if max(len(mean), len(std)) > 1:
            _, _, channels, first = picture_shape(end, Path(end.name))
            if {len(mean), len(std)} - {1, channels}:
                raise InvalidInput(
                    f"{max(len(mean), len(std))} means or stds for {channels} channels", at=end.name
                )
            shape[-3 if first else -1] = channels
        return (values - _along(mean, shape)) / _along(std, shape)


def _along(values: tuple[float, ...], shape: list[int]) -> np.ndarray:
    array = np.array(values, np.float32)
    return array.reshape(shape) if len(values) > 1 else array


@dataclass(frozen=True)
class Samples:
    """``count`` samples; ``labels`` are the right answers, where they are known."""

    count: int
    feed: Callable[[int], dict[str, np.ndarray]]
    """A sample's inputs by name, float32 in the model's shapes."""
    labels: np.ndarray | None
    pixels: bool
    """Whether they come from pictures."""

    def spread(self, most: int) -> Samples:
        """At most so many of them, evenly spread over all."""
        if most >= self.count:
            return self
        chosen = np.linspace(0, self.count - 1, most).round().astype(int)
        labels = None if self.labels is None else self.labels[chosen]
        return replace(
            self, count=most, labels=labels, feed=lambda index: self.feed(int(chosen[index]))
        )


def read_samples(
    path: Path,
    inputs: Sequence[End],
    preparation: Preparation,
    *,
    labels: Path | None = None,
    classes: Sequence[str] | None = None,
) -> Samples:
    """The samples in a .npy, a .npz (arrays named as the inputs, or x; labels y), or a folder of
    pictures or of one folder a class.

    Classes are numbered as ``classes`` lists them, else by their folder's name where all names
    are numbers, else in the names' order. ``labels`` is a .npy or text file, one integer a
    sample. Raises ``InvalidInput``.
    """
    try:
        is_folder = path.is_dir()
        there = path.exists()
    except (OSError, ValueError) as error:
        raise InvalidInput(getattr(error, "strerror", None) or "no path", at=str(path)) from error
    if not there:
        raise InvalidInput("No such file or directory", at=str(path))
    if is_folder:
        found = _pictures(path, inputs, preparation, classes)
    elif path.suffix in (".npy", ".npz"):
        found = _arrays(path, inputs, preparation)
    else:
        raise InvalidInput("neither .npy nor .npz nor a folder of pictures", at=str(path))
    if labels is not None:
        found = replace(found, labels=_read_labels(labels))
    if found.labels is not None and len(found.labels) != found.count:
        raise InvalidInput(
            f"{len(found.labels)} labels for {found.count} samples", at=str(labels or path)
        )
    return found


def _pictures(
    folder: Path, inputs: Sequence[End], preparation: Preparation, classes: Sequence[str] | None
) -> Samples:
    if len(inputs) != 1:
        raise InvalidInput(f"pictures for a model of {len(inputs)} inputs", at=str(folder))
    end = inputs[0]
    picture_shape(end, folder)
    files = pictures_in(folder)
    labels = None
    if not files:
        rooms = sorted(path for path in folder.iterdir() if path.is_dir() and pictures_in(path))
        numbers = _numbers([room.name for room in rooms], classes, folder)
        found = [(file, numbers[room.name]) for room in rooms for file in pictures_in(room)]
        files = [file for file, _ in found]
        labels = np.array([number for _, number in found], np.int64)
    if not files:
        raise InvalidInput("no pictures in this folder", at=str(folder))

    def feed(index: int) -> dict[str, np.ndarray]:
        pixels = picture(files[index], end, mean=0.0, std=1.0, resize=True)
        values = preparation.scaled(pixels, end, pixels=True)
        return {end.name: np.ascontiguousarray(values, np.float32)}

    return Samples(len(files), feed, labels, pixels=True)


def _numbers(names: list[str], classes: Sequence[str] | None, folder: Path) -> dict[str, int]:
    if classes is not None:
        unknown = [name for name in names if name not in classes]
        if unknown:
            raise InvalidInput(
                f"the class {unknown[0]!r} is none of {', '.join(classes)}", at=str(folder)
            )
        return {name: list(classes).index(name) for name in names}
    if all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}


def _arrays(path: Path, inputs: Sequence[End], preparation: Preparation) -> Samples:
    arrays = _load(path)
    labels = None
    names = [end.name for end in inputs]
    answers = [name for name in ANSWERS if name in arrays and name not in names]
    if answers:
        labels = _as_labels(arrays.pop(answers[0]), path)
    if len(inputs) == 1 and names[0] not in arrays:
        name = "x" if "x" in arrays or len(arrays) != 1 else next(iter(arrays))
        arrays = {names[0]: arrays[name]} if name in arrays else {}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InvalidInput(
            f"no array for the input '{missing[0]}'", at=str(path), hint="name it so, or x"
        )
    columns = {}
    counts = set()
    for end in inputs:
        array = _in_shape(arrays[end.name], end, preparation)
        if array.dtype.kind not in "iufb":
            raise InvalidInput(f"type {array.dtype}, numbers are needed", at=str(path))
        try:
            (column,), count = columns_of([array], [_wide(end, array)])
        except InvalidInput as error:
            raise InvalidInput(error.problem, at=f"{path}, {end.name}", hint=error.hint) from error
        columns[end.name] = (column, end)
        counts.add(count)
    if len(counts) != 1:
        raise InvalidInput(f"inputs of {sorted(counts)} samples", at=str(path))

    def feed(index: int) -> dict[str, np.ndarray]:
        found = {}
        for name, (column, end) in columns.items():
            values = preparation.scaled(column[index].astype(np.float32), end, pixels=False)
            if not np.isfinite(values).all():
                raise InvalidInput(f"sample {index} holds values that are not finite", at=str(path))
            found[name] = np.ascontiguousarray(values, np.float32)
        return found

    return Samples(counts.pop(), feed, labels, pixels=False)


def _wide(end: End, array: np.ndarray) -> End:
    """The input with the array's own type: samples become floats one by one, not all at once."""
    return replace(end, dtype=array.dtype)


def _in_shape(array: np.ndarray, end: End, preparation: Preparation) -> np.ndarray:
    """The array with its channels where the model has them; axes of one that only the model
    has are added."""
    if preparation.layout is not None and array.ndim == 4 == len(end.shape):
        first = picture_shape(end, Path(end.name))[3]
        if preparation.layout == "nhwc" and first:
            array = array.transpose(0, 3, 1, 2)
        elif preparation.layout == "nchw" and not first:
            array = array.transpose(0, 2, 3, 1)
    inner = end.shape[1:] if end.shape[:1] == (1,) else end.shape
    plain = tuple(n for n in inner if n != 1)
    if array.ndim and array.shape[1:] == plain and plain != inner:
        array = array.reshape(len(array), *inner)
    return array


def _load(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        return read_npz(path)
    try:
        return {"x": np.lib.format.open_memmap(path, mode="r")}
    except OSError as error:
        raise InvalidInput(error.strerror or "can't be read", at=str(path)) from error
    except Exception as error:  # numpy evaluates the header: a broken one raises anything
        raise InvalidInput(f"no .npy array ({error})", at=str(path)) from error


def _read_labels(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return _as_labels(_load(path)["x"], path)
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InvalidInput(reason, at=str(path)) from error
    try:
        return np.array([int(line) for line in lines], np.int64)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("labels are integers, one a line", at=str(path)) from error


def _as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype.kind not in "iu" or array.size != max(array.shape, default=0):
        raise InvalidInput(
            f"labels {array.dtype}{list(array.shape)}", at=str(path), hint="one integer a sample"
        )
    return np.asarray(array).reshape(-1).astype(np.int64)
