"""A compiled model as a Python callable: its C as a shared library of this machine."""

from __future__ import annotations

import ctypes
import os
import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .deploy import shared_library
from .errors import InvalidInput, InvalidModel, ToolFailed
from .project import PLAN, read_plan
from .samples import End, columns_of

FRAMES_AT_ONCE = 32
"""Frames in one call of the library: between calls Ctrl-C is heard and threads share the rest."""

MOST_THREADS = 256
_ALIGN = 64
_SIZES = ("context", "arena", "slow", "input", "output")


class Loaded:
    """A model that is called like a function, computed by its own C on this machine.

    ``model(x)`` takes one array for each input of the model, in the source's layout and of the
    input's type, or inputs by name. An array of the input's shape is one frame; one with one more
    leading axis, or with a longer first axis where the model's is 1, is a sequence of frames, and
    the outputs then have that axis, too. The answer is the output's array, or for a model of
    several outputs a dict by name.

    Frames of a model without state are divided among ``threads``, each with a context and an arena
    of its own. A model with state runs its frames in order in one thread; the state stays from
    call to call until ``reset``.
    """

    def __init__(self, folder: str | Path, *, threads: int = 1, cc: str | None = None) -> None:
        """Builds the library from a project that ``compile`` wrote for any board. Raises
        ``InvalidModel``, ``InvalidInput``, ``ToolMissing``, ``ToolFailed``."""
        folder = Path(folder)
        description = read_plan(folder)
        self.name: str = description["model"]
        self.target: str = description["target"]
        self.inputs = tuple(End.of(entry) for entry in description["inputs"])
        self.outputs = tuple(End.of(entry) for entry in description["outputs"])
        state = description.get("state_bytes")
        if type(state) is not int:
            raise InvalidModel(f"{PLAN} is not one of this tinymill", at=str(folder))
        self.stateful = state > 0
        whole = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
        if not whole or not 1 <= threads <= MOST_THREADS:
            raise InvalidInput(
                f"threads is {threads!r}", hint=f"a whole number from 1 to {MOST_THREADS}"
            )
        if self.stateful and threads > 1:
            raise InvalidInput(
                f"{threads} threads for a model that keeps state from frame to frame",
                at=self.name,
                hint="its frames run in order: threads=1",
            )
        self.threads = threads
        self.library = shared_library(folder, self.name, cc=cc)
        self._library = _Library(self.library)
        sizes = self._library.sizes
        if sizes["input"] != sum(end.size for end in self.inputs) or sizes["output"] != sum(
            end.size for end in self.outputs
        ):
            raise InvalidModel(f"{PLAN} is not that of the C beside it", at=str(folder))
        self.output_names = _unique(end.name for end in self.outputs)
        training = description.get("training") or {"classes": 0, "trained": []}
        self.classes: int = training["classes"]
        self._trained = tuple(
            End.of({"order": list(range(len(entry["shape"]))), **entry})
            for entry in training["trained"]
        )
        if self._library.trains != bool(self.classes):
            raise InvalidModel(f"{PLAN} is not that of the C beside it", at=str(folder))
        # instances that no thread uses at the moment
        self._idle: queue.LifoQueue[_Instance] = queue.LifoQueue()
        for _ in range(threads):
            self._idle.put(_Instance(self._library, self.name))

    def __repr__(self) -> str:
        return f"<tinymill model {self.name}, compiled for {self.target}>"

    def __call__(self, *arrays: Any, **named: Any) -> np.ndarray | dict[str, np.ndarray]:
        """Runs one frame or a sequence of them; see the class. Raises ``InvalidInput``."""
        found = self.run(*arrays, **named)
        return found if len(found) > 1 else next(iter(found.values()))

    def run(self, *arrays: Any, **named: Any) -> dict[str, np.ndarray]:
        """As a call, but the outputs always by name."""
        return self._run([np.asarray(array) for array in self._in_order(arrays, named)])

    def reset(self) -> None:
        """Sets the variables of a model with state to their initial values."""
        for _ in range(self.threads):
            with self._instance() as instance:
                instance.reset()

    @property
    def trainable(self) -> bool:
        """Whether the model was compiled with a step of training."""
        return self._library.trains

    def train(self, *arrays: Any, labels: Any, rates: Any) -> np.ndarray:
        """Takes one step of training after the other: the inputs as for a call, a label (class) for
        each frame, a learning rate for each or one for all. Gives the losses before each step,
        float32. Raises ``InvalidInput``; where it does, nothing has been changed."""
        self._check_trainable()
        columns, count = columns_of([np.asarray(array) for array in arrays], self.inputs)
        targets = np.asarray(labels)
        if targets.dtype.kind not in "iu" or targets.shape not in ((count,), ()):
            raise InvalidInput(
                f"labels of type {targets.dtype} and shape {list(targets.shape)}",
                at=self.name, hint=f"whole numbers, {count} of them",
            )  # fmt: skip
        wrong = targets[(targets < 0) | (targets >= self.classes)].ravel()
        if len(wrong):
            raise InvalidInput(
                f"the label {wrong[0]}", at=self.name, hint=f"classes are 0 to {self.classes - 1}"
            )
        speeds = np.asarray(rates, np.float32)
        if speeds.shape not in ((count,), ()) or not np.isfinite(speeds).all():
            raise InvalidInput(
                "a learning rate that is infinite or no number, or too few of them", at=self.name
            )
        for column in columns:
            if column.dtype.kind == "f" and not np.isfinite(column).all():
                raise InvalidInput("inputs that are infinite or no numbers", at=self.name)
        losses = np.empty(count, np.float32)
        targets = np.ascontiguousarray(np.broadcast_to(targets, count), np.int32)
        speeds = np.ascontiguousarray(np.broadcast_to(speeds, count))
        with self._instance() as instance:
            for start in range(0, count, FRAMES_AT_ONCE):
                part = slice(start, min(start + FRAMES_AT_ONCE, count))
                frames = self._frames(columns, part.start, part.stop)
                instance.train(frames, targets[part], speeds[part], losses[part])
        return losses

    @property
    def trained_crc32(self) -> int:
        """Of the trained part, the same on every machine after the same steps."""
        self._check_trainable()
        with self._instance() as instance:
            return instance.trained_crc32()

    @property
    def trained(self) -> dict[str, np.ndarray]:
        """The variables that steps of training change, by name."""
        image = self.save()
        found, place = {}, len(image) - sum(entry.size for entry in self._trained)
        for entry in self._trained:
            found[entry.name] = entry.from_bytes(image[place : place + entry.size])
            place += entry.size
        return found

    def save(self) -> bytes:
        """An image of the trained part, as the C's ``save`` writes it."""
        self._check_trainable()
        with self._instance() as instance:
            return instance.save()

    def load(self, image: bytes) -> None:
        """Sets the trained part to an image's. Raises ``InvalidInput`` where it is none of this
        model's; nothing has been changed then."""
        self._check_trainable()
        with self._instance() as instance:
            if not instance.load(image):
                raise InvalidInput("no whole image of this model's trained part", at=self.name)

    def _check_trainable(self) -> None:
        if not self.trainable:
            raise InvalidInput("was compiled without training", at=self.name)

    def quantize(self, array: Any, input: int | str = 0) -> np.ndarray:
        """Reals as an input's integers: x / scale in float32, half to even, + zero point,
        saturated. Raises ``InvalidInput`` where the input has no scale."""
        end, scale, zero_point = _scaled(self.inputs, input)
        limits = np.iinfo(end.dtype)
        q = np.rint(np.asarray(array, np.float32) / scale) + np.float32(zero_point)
        return np.clip(q, limits.min, limits.max).astype(end.dtype)

    def dequantize(self, array: Any, output: int | str = 0) -> np.ndarray:
        """An output's integers as reals: (q - zero point) * scale in float32."""
        _, scale, zero_point = _scaled(self.outputs, output)
        return (np.asarray(array).astype(np.int32) - zero_point).astype(np.float32) * scale

    def _in_order(self, arrays: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """The arrays in the order of the inputs; a single mapping holds them by name."""
        if len(arrays) == 1 and isinstance(arrays[0], Mapping) and not named:
            arrays, named = [], arrays[0]
        if not named:
            return list(arrays)
        names = [end.name for end in self.inputs]
        unknown = [name for name in named if name not in names]
        if unknown or len(arrays) + len(named) != len(names):
            raise InvalidInput(
                f"inputs {', '.join(map(str, named))} given, the model has {', '.join(names)}",
                at=self.name,
            )
        rest = names[len(arrays) :]
        if sorted(rest) != sorted(named):
            raise InvalidInput("an input is given by its place and by its name", at=self.name)
        return [*arrays, *(named[name] for name in rest)]

    def _run(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        columns, count = columns_of(arrays, self.inputs)
        raw = np.empty((count, self._library.sizes["output"]), np.uint8)
        if self.stateful or self.threads == 1:
            with self._instance() as instance:
                for start in range(0, count, FRAMES_AT_ONCE):
                    self._run_part(instance, columns, raw, start)
        else:
            with ThreadPoolExecutor(max_workers=self.threads) as pool:
                parts = [
                    pool.submit(self._run_anywhere, columns, raw, start)
                    for start in range(0, count, FRAMES_AT_ONCE)
                ]
                try:
                    for part in parts:
                        part.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        pairs = list(zip(arrays, self.inputs, strict=True))
        sequence = any(array.shape != end.shape for array, end in pairs)
        merged = all(array.ndim == len(end.shape) for array, end in pairs)
        return self._named_outputs(raw, sequence=sequence, merged=merged)

    def _run_anywhere(self, columns: list[np.ndarray], raw: np.ndarray, start: int) -> None:
        with self._instance() as instance:
            self._run_part(instance, columns, raw, start)

    def _run_part(
        self, instance: _Instance, columns: list[np.ndarray], raw: np.ndarray, start: int
    ) -> None:
        stop = min(start + FRAMES_AT_ONCE, len(raw))
        instance.run(self._frames(columns, start, stop), raw[start:stop])

    def _frames(self, columns: list[np.ndarray], start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) as the library takes them: [N, input bytes]."""
        parts = []
        for column, end in zip(columns, self.inputs, strict=True):
            part = column[start:stop] if len(column) > 1 else column
            ours = part.transpose(0, *(axis + 1 for axis in end.order))
            row = np.ascontiguousarray(ours).reshape(len(part), -1).view(np.uint8)
            parts.append(np.broadcast_to(row, (stop - start, end.size)))
        return np.concatenate(parts, axis=1) if parts else np.empty((1, 0), np.uint8)

    def _named_outputs(
        self, raw: np.ndarray, *, sequence: bool, merged: bool
    ) -> dict[str, np.ndarray]:
        found = {}
        place = 0
        for name, end in zip(self.output_names, self.outputs, strict=True):
            part = np.ascontiguousarray(raw[:, place : place + end.size]).view(end.dtype)
            place += end.size
            ours = tuple(end.shape[axis] for axis in end.order)
            back = np.argsort(end.order)
            array = part.reshape(len(raw), *ours).transpose(0, *(back + 1))
            if not sequence:
                array = array[0]
            elif merged and end.shape[:1] == (1,):
                array = array[:, 0]
            found[name] = np.ascontiguousarray(array).reshape(array.shape)
        return found

    @contextmanager
    def _instance(self) -> Iterator[_Instance]:
        """An instance for this thread alone; waits until one is idle."""
        instance = self._idle.get()
        try:
            yield instance
        finally:
            self._idle.put(instance)


class _Library:
    """The functions of runtime_c/target/library.c."""

    def __init__(self, path: Path) -> None:
        try:
            loaded = ctypes.CDLL(str(path))
        except OSError as error:
            raise ToolFailed(f"the library can't be loaded: {error}", at=str(path)) from error
        self.sizes: dict[str, int] = {}
        for name in _SIZES:
            size = getattr(loaded, f"tm_library_{name}_bytes")
            size.restype = ctypes.c_size_t
            size.argtypes = []
            self.sizes[name] = size()
        pointer = ctypes.c_void_p
        self.init = loaded.tm_library_init
        self.init.argtypes = [pointer, pointer, pointer]
        self.run = loaded.tm_library_run
        self.run.argtypes = [pointer, pointer, pointer, ctypes.c_size_t]
        self.init.restype = self.run.restype = ctypes.c_int
        self.trains = hasattr(loaded, "tm_library_train")
        if not self.trains:
            return
        size = ctypes.c_size_t
        loaded.tm_library_saved_bytes.restype = size
        loaded.tm_library_saved_bytes.argtypes = []
        self.sizes["saved"] = loaded.tm_library_saved_bytes()
        self.train = loaded.tm_library_train
        self.train.argtypes = [pointer, pointer, pointer, pointer, pointer, size]
        self.save, self.load = loaded.tm_library_save, loaded.tm_library_load
        self.save.argtypes = self.load.argtypes = [pointer, pointer, size]
        self.train.restype = self.save.restype = self.load.restype = ctypes.c_int
        self.trained_crc32 = loaded.tm_library_trained_crc32
        self.trained_crc32.argtypes = [pointer]
        self.trained_crc32.restype = ctypes.c_uint32


class _Instance:
    """One context with its arena."""

    def __init__(self, library: _Library, name: str) -> None:
        self._library = library
        self._name = name
        self._memory = [_aligned(library.sizes[kind]) for kind in ("context", "arena", "slow")]
        self.reset()

    def reset(self) -> None:
        self._check(self._library.init(*(block.ctypes.data for block in self._memory)))

    def run(self, frames: np.ndarray, outputs: np.ndarray) -> None:
        """Runs frames [N, input bytes] into outputs [N, output bytes], both contiguous."""
        self._check(
            self._library.run(
                self._memory[0].ctypes.data, frames.ctypes.data, outputs.ctypes.data, len(outputs)
            )
        )

    def train(
        self, frames: np.ndarray, labels: np.ndarray, rates: np.ndarray, losses: np.ndarray
    ) -> None:
        """Takes steps of training on frames [N, input bytes]; all are contiguous."""
        self._check(
            self._library.train(
                self._memory[0].ctypes.data, frames.ctypes.data, labels.ctypes.data,
                rates.ctypes.data, losses.ctypes.data, len(losses),
            )
        )  # fmt: skip

    def trained_crc32(self) -> int:
        return int(self._library.trained_crc32(self._memory[0].ctypes.data))

    def save(self) -> bytes:
        image = np.empty(self._library.sizes["saved"], np.uint8)
        where = self._memory[0].ctypes.data
        self._check(self._library.save(where, image.ctypes.data, len(image)))
        return image.tobytes()

    def load(self, image: bytes) -> bool:
        """Whether it is an image of this model."""
        held = np.frombuffer(image, np.uint8)
        where = self._memory[0].ctypes.data
        return bool(self._library.load(where, held.ctypes.data, len(held)) == 0)

    def _check(self, status: int) -> None:
        if status != 0:
            raise ToolFailed(f"the model answered status {status}", at=self._name)


def _aligned(size: int) -> np.ndarray:
    block = np.zeros(size + _ALIGN, np.uint8)
    start = -block.ctypes.data % _ALIGN
    return block[start : start + max(size, 1)]


def _unique(names: Iterator[str]) -> tuple[str, ...]:
    """The names; the second "x" becomes "x.1"."""
    found: list[str] = []
    for index, name in enumerate(names):
        found.append(f"{name}.{index}" if name in found else name)
    return tuple(found)


def _scaled(ends: Sequence[End], which: int | str) -> tuple[End, np.float32, int]:
    """An end by place or name with its scale and zero point."""
    names = [end.name for end in ends]
    if isinstance(which, str) and which in names:
        which = names.index(which)
    if isinstance(which, str) or not 0 <= which < len(ends):
        raise InvalidInput(f"no input or output {which!r}", hint=f"there are {', '.join(names)}")
    end = ends[which]
    if end.scale is None or end.dtype.kind not in "iu":
        raise InvalidInput(f"its type is {end.dtype}, without a scale", at=end.name)
    return end, np.float32(end.scale), end.zero_point or 0


def default_threads() -> int:
    """The processors that this process may use."""
    try:
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    except AttributeError:  # not on this system
        return min(os.cpu_count() or 1, MOST_THREADS)
