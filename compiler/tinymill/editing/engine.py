"""Engine: a compiled model that recomputes what an edit reaches. numpy in, numpy out."""

from __future__ import annotations

import ctypes
import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput, InvalidModel, OutOfMemory, ToolFailed
from ..ir import Graph, Port, interpret
from .build import libraries
from .emit import FORMAT, MANIFEST, WEIGHTS
from .host import CONSTANTS, GRAPH, host_from_json

MODES = ("exact", "fast")
STATISTICS = ("cached", "refresh")
DRIFT = 0.25
"""Change of a normalisation's mean, in deviations, or of its deviation, relative, from which on
cached statistics are warned about."""

_OK, _NO_MEMORY, _NOT_FINITE, _NOTHING = range(4)
_POINTER = ctypes.c_void_p


class _Source(ctypes.Structure):
    _fields_ = [
        ("data", _POINTER), ("image", ctypes.c_int64), ("row", ctypes.c_int64),
        ("pixel", ctypes.c_int64), ("channel", ctypes.c_int64),
    ]  # fmt: skip


class _Options(ctypes.Structure):
    _fields_ = [
        ("fast", ctypes.c_int32), ("refresh", ctypes.c_int32), ("dilation", ctypes.c_int32),
        ("threshold", ctypes.c_float), ("break_even", ctypes.c_float),
    ]  # fmt: skip


class _Report(ctypes.Structure):
    _fields_ = [
        ("active", ctypes.c_double), ("macs", ctypes.c_double), ("dense_macs", ctypes.c_double),
        ("drift", ctypes.c_double), ("drift_norm", ctypes.c_int32), ("layers", ctypes.c_int32),
        ("dense_layers", ctypes.c_int32), ("log_bytes", ctypes.c_int64),
    ]  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What the last edit took."""

    active: float
    """Share of the edited input's pixels."""
    macs: int
    dense_macs: int
    milliseconds: float
    layers: int
    """Convolutions and products that ran, and how many of them were computed whole."""
    dense_layers: int
    log_bytes: int
    """Memory that undoing takes, of all edits so far."""
    drift: float
    """Greatest change of a normalisation's statistics: see ``DRIFT``."""
    drift_at: str | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class SparseEngine:
    """A model with the activations of one input in memory.

    ``precompute(x)`` runs it whole and keeps what every layer gave. A call with an edited input
    recomputes what the edit reaches and answers the output; the next call starts from the
    original again, unless ``commit`` made the edit the state to start from. ``undo`` goes back
    one step: to before the last edit, then to before the last commit.

    One call at a time: an engine is not for several threads at once. Arrays are float32 in the
    model's own layout; whatever has ``__dlpack__`` (torch tensors) is
    read where it lies. Inputs beside the edited one (timestep, context) are given by name to
    ``precompute`` and stay.
    """

    def __init__(
        self, folder: str | Path, *, threads: int | None = None, cc: str | None = None
    ) -> None:
        """Opens a project that ``compile`` wrote and builds its C. Raises ``InvalidModel``,
        ``ToolMissing``, ``ToolFailed``, ``OutOfMemory``."""
        folder = Path(folder)
        self.manifest = read_manifest(folder)
        self.name: str = self.manifest["model"]
        self.cache_bytes: int = self.manifest["cache_bytes"]
        """Memory of all activations; known before anything runs."""
        self._host = _host_of(folder, self.name)
        self._edited = self.manifest["edited"]
        self._port = _port_of(self._edited)
        self._extra = {end["name"]: end for end in self.manifest["inputs"]}
        self._given: dict[str, np.ndarray] = {}
        self._weights = _read_weights(folder, self.manifest["weight_floats"])
        self._context: int | None = None
        runtime, tables = libraries(folder, cc=cc)
        self._library = _open_library(runtime)
        self._tables = _load(tables)
        self._tables.tm_edit_model.restype = _POINTER
        if threads is not None and not 1 <= threads <= 256:
            raise InvalidInput(f"{threads} threads", hint="1 to 256 are possible")
        self._threads = threads
        self._context = self._library.tm_edit_open(
            self._tables.tm_edit_model(), self._weights.ctypes.data
        )
        if not self._context:
            raise OutOfMemory("activations", needed=self.cache_bytes, available=0, at=self.name)
        self._ready = False
        self._pending = False
        self._commits = 0
        self.last: Run | None = None

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._library.tm_edit_close(self._context)
            self._context = None

    def __repr__(self) -> str:
        return f"<sparse engine of {self.name}, {self.cache_bytes:,} bytes of activations>"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the edited input, in the model's layout."""
        return tuple(self._edited["shape"])

    @property
    def mask_shape(self) -> tuple[int, int, int]:
        """Images, height and width of a mask."""
        images, height, width, _ = self._edited["ours"]
        return images, height, width

    # -- runs ----------------------------------------------------------------------------------

    def precompute(self, x: Any, **inputs: Any) -> Any:
        """Runs the model whole on ``x`` and the other inputs, by name, and keeps all activations.

        Answers the output, or a dict of several. Raises ``InvalidInput``.
        """
        array = self._input(x)
        if not np.isfinite(array).all():
            raise InvalidInput("values that are not finite", at=self._edited["name"])
        given = self._others(inputs)
        self._ready = self._pending = False
        self._commits = 0
        self.last = None
        self._fill_host(given)
        source = self._source(array)
        self._set_threads()
        status = self._library.tm_edit_precompute(self._context, ctypes.byref(source))
        self._check(status)
        self._given = given
        self._ready = True
        return self.output()

    def __call__(
        self,
        x: Any,
        mask: Any = None,
        *,
        mode: str = "exact",
        statistics: str = "cached",
        threshold: float = 0.0,
        dilation: int = 0,
        break_even: float = 1.0,
        copy: bool = True,
        **inputs: Any,
    ) -> Any:
        """The output for the edited input ``x``.

        ``mask`` [images, height, width] (or without images) says what is edited; without it,
        what differs by more than ``threshold``. ``mode`` "exact" recomputes every value that the
        edit reaches, "fast" the edited pixels' surroundings at each resolution. ``statistics``
        "refresh" lets normalisations follow the edit; "cached" keeps those of the original.
        A layer is computed whole from ``break_even`` of its dense time on. Without ``copy`` the
        answer is the engine's own memory, which the next call changes.
        Raises ``InvalidInput``; the state then is the one from which the edit would have started,
        or where an argument is wrong, as before.
        """
        if mode not in MODES or statistics not in STATISTICS:
            raise InvalidInput(
                f"mode {mode!r}, statistics {statistics!r}",
                hint=f"modes are {', '.join(MODES)}, statistics {', '.join(STATISTICS)}",
            )
        if not (np.isfinite(threshold) and threshold >= 0 and 0 <= dilation <= 1 << 12):
            raise InvalidInput(f"threshold {threshold}, dilation {dilation}")
        if not break_even > 0:
            raise InvalidInput(f"break-even {break_even}", hint="a share above 0")
        if not self._ready:
            raise InvalidInput("no activations yet", hint="call precompute first")
        array = self._input(x)
        chosen = None if mask is None else self._mask(mask)
        if inputs:
            self._same(self._others(inputs, self._given))
        if self._pending:
            self._library.tm_edit_undo(self._context)
            self._pending = False
        options = _Options(mode == "fast", statistics == "refresh", dilation, threshold, break_even)
        report = _Report()
        source = self._source(array)
        self._set_threads()
        begin = time.perf_counter()
        status = self._library.tm_edit_run(
            self._context,
            ctypes.byref(source),
            None if chosen is None else chosen.ctypes.data,
            ctypes.byref(options),
            ctypes.byref(report),
        )
        taken = time.perf_counter() - begin
        self._check(status)
        self._pending = True
        self.last = self._run(report, taken)
        if statistics == "cached" and self.last.drift > DRIFT:
            warnings.warn(
                f"{self.last.drift_at}: the edit changes its statistics by {self.last.drift:.2f} "
                'deviations, cached ones are in use; statistics="refresh" follows the edit',
                stacklevel=2,
            )
        return self.output(copy=copy)

    def commit(self) -> None:
        """Makes the last edit the state from which the next starts."""
        if not self._pending:
            raise InvalidInput("no edit to keep")
        self._pending = False
        self._commits += 1

    def undo(self) -> Any:
        """Takes back the last edit, or the last commit where no edit came after it; answers the
        output as it was. Raises ``InvalidInput`` where there is nothing to take back."""
        if not self._pending and self._commits == 0:
            raise InvalidInput("nothing to undo")
        self._library.tm_edit_undo(self._context)
        if self._pending:
            self._pending = False
        else:
            self._commits -= 1
        return self.output()

    def output(self, *, copy: bool = True) -> Any:
        """The output of the state as it is, in the model's layout; channels lie side by side in
        memory. ``copy`` as in a call."""
        if not self._ready:
            raise InvalidInput("no activations yet", hint="call precompute first")
        found = {}
        for end in self.manifest["outputs"]:
            ours = self._map(end["map"], end["channels"], tuple(end["ours"]))
            order = end["order"]
            named = ours.reshape([end["shape"][axis] for axis in order])
            answer = named.transpose(np.argsort(order))
            found[end["name"]] = answer.copy(order="K") if copy else answer
        return found if len(found) > 1 else next(iter(found.values()))

    def dense(self, x: Any) -> Any:
        """The model run whole on ``x``, nothing of the original kept: what an edit is compared
        with. Takes as much memory again while it runs."""
        if not self._ready:
            raise InvalidInput("no activations yet", hint="call precompute first")
        other = SparseEngine.__new__(SparseEngine)
        other.__dict__.update(self.__dict__)
        other._context = self._library.tm_edit_open(
            self._tables.tm_edit_model(), self._weights.ctypes.data
        )
        if not other._context:
            raise OutOfMemory("activations", needed=self.cache_bytes, available=0, at=self.name)
        return other.precompute(x, **self._given)

    def active(self, value: int) -> np.ndarray:
        """Active pixels [images, height, width] of a map (by number) in the last run."""
        data = self._library.tm_edit_active(self._context, value)
        shape = self._shapes()[value]
        count = self.manifest["images"] * shape[0] * shape[1]
        raw = np.ctypeslib.as_array(ctypes.cast(data, ctypes.POINTER(ctypes.c_uint8)), (count,))
        return raw.reshape(self.manifest["images"], *shape).astype(bool)

    # -- inside --------------------------------------------------------------------------------

    def _shapes(self) -> dict[int, tuple[int, int]]:
        return {end["map"]: (end["ours"][1], end["ours"][2])
                for end in (self._edited, *self.manifest["outputs"])}  # fmt: skip

    def _map(self, value: int, channels: int, shape: tuple[int, ...]) -> np.ndarray:
        """A map as an array on its memory."""
        data = self._library.tm_edit_map(self._context, value)
        stride = self._library.tm_edit_stride(self._context, value)
        rows = np.asarray(_Memory(self, data, int(np.prod(shape)) // channels, channels, stride))
        return rows.reshape(shape)  # a copy where other channels lie between

    def _set_threads(self) -> None:
        """OpenMP keeps the number of each thread that calls."""
        if self._threads is not None:
            self._library.tm_edit_threads(self._threads)

    def _input(self, x: Any) -> np.ndarray:
        array = as_array(x, self._edited["name"])
        if array.shape != self.input_shape:
            raise InvalidInput(
                f"shape {list(array.shape)}, the model takes {list(self.input_shape)}",
                at=self._edited["name"],
                hint="compile it again for another size",
            )
        return array

    def _mask(self, mask: Any) -> np.ndarray:
        array = np.asarray(mask if not hasattr(mask, "__dlpack__") else as_any(mask))
        if array.shape == self.mask_shape[1:]:
            array = np.broadcast_to(array, self.mask_shape)
        if array.shape != self.mask_shape:
            raise InvalidInput(
                f"mask of {list(array.shape)}, {list(self.mask_shape)} or "
                f"{list(self.mask_shape[1:])} is needed",
                at=self._edited["name"],
            )
        if array.dtype.kind not in "biuf":
            raise InvalidInput(f"mask of {array.dtype}", hint="true where pixels are edited")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidInput("mask with values that are not finite")
        return np.ascontiguousarray(array != 0).view(np.uint8)

    def _others(
        self, inputs: Mapping[str, Any], known: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        unknown = set(inputs) - set(self._extra)
        if unknown:
            raise InvalidInput(
                f"no input {', '.join(sorted(unknown))}",
                hint=f"beside {self._edited['name']} there are {', '.join(self._extra) or 'none'}",
            )
        found = dict(known or {})
        for name, end in self._extra.items():
            if name not in inputs:
                if name not in found:
                    raise InvalidInput("input is missing", at=name)
                continue
            array = np.asarray(as_any(inputs[name]))
            wanted = np.dtype(end["dtype"])
            if array.shape != tuple(end["shape"]):
                raise InvalidInput(
                    f"shape {list(array.shape)}, the model takes {end['shape']}", at=name
                )
            if array.dtype.kind != wanted.kind:
                raise InvalidInput(f"{array.dtype}, the model takes {wanted}", at=name)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InvalidInput("values that are not finite", at=name)
            found[name] = np.array(array, wanted)
        return found

    def _same(self, given: Mapping[str, np.ndarray]) -> None:
        for name, array in given.items():
            if not np.array_equal(array, self._given[name]):
                raise InvalidInput(
                    "another value than at precompute",
                    at=name,
                    hint="activations are those of one value: call precompute for another",
                )

    def _fill_host(self, given: Mapping[str, np.ndarray]) -> None:
        """Computes what no edit reaches and puts it where layers read it."""
        if not self.manifest["host"]:
            return
        host = self._host
        inputs = {
            port.value: port.from_source(given[port.name], host.type(port.value).shape)
            for port in host.inputs
            if port.value in host.types
        }
        with np.errstate(all="ignore"):
            values = interpret(host, inputs)
        for entry in self.manifest["host"]:
            array = np.ascontiguousarray(values[entry["value"]], np.float32)
            if not np.isfinite(array).all():
                raise InvalidInput("the other inputs give values that are not finite",
                                   at=entry["value"])  # fmt: skip
            data = self._library.tm_edit_map(self._context, entry["map"])
            ctypes.memmove(data, array.ctypes.data, array.nbytes)

    def _source(self, array: np.ndarray) -> _Source:
        """The array's strides in the order of our axes."""
        strides = [array.strides[axis] // 4 for axis in self._port.order]
        return _Source(array.ctypes.data, *strides)

    def _check(self, status: int) -> None:
        if status == _NO_MEMORY:
            raise OutOfMemory("the edit", needed=self.cache_bytes, available=0, at=self.name)
        if status == _NOT_FINITE:
            raise InvalidInput("values that are not finite", at=self._edited["name"])
        assert status == _OK, status

    def _run(self, report: _Report, seconds: float) -> Run:
        norms = self.manifest["norms"]
        at = norms[report.drift_norm] if 0 <= report.drift_norm < len(norms) else None
        return Run(
            report.active, int(report.macs), int(report.dense_macs), seconds * 1e3, report.layers,
            report.dense_layers, report.log_bytes, report.drift, at,
        )  # fmt: skip


class _Memory:
    """Rows of floats of an engine, which lives as long as arrays on them."""

    def __init__(
        self, engine: SparseEngine, data: int, count: int, channels: int, stride: int
    ) -> None:
        self._engine = engine
        self.__array_interface__ = {
            "version": 3, "data": (data, True), "shape": (count, channels),
            "typestr": "=f4", "strides": (4 * stride, 4),
        }  # fmt: skip


def as_any(x: Any) -> np.ndarray:
    """An array of any type; tensors that speak DLPack are not copied."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__dlpack__"):
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise InvalidInput(f"a tensor that numpy can't read in place: {error}") from error
    return np.asarray(x)


def as_array(x: Any, name: str) -> np.ndarray:
    """A float32 array. Raises ``InvalidInput`` for other types."""
    array = as_any(x)
    if array.dtype != np.float32:
        raise InvalidInput(f"{array.dtype}, float32 is needed", at=name)
    if any(stride % 4 for stride in array.strides) or array.ctypes.data % 4:
        array = np.ascontiguousarray(array)
    return array


def read_manifest(folder: Path) -> dict[str, Any]:
    """The description of a project. Raises ``InvalidModel``."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidModel(
            error.strerror or "can't be read", at=str(path),
            hint="tinymill edit compile writes such a folder",
        ) from error  # fmt: skip
    except ValueError as error:
        raise InvalidModel("is no JSON", at=str(path)) from error
    keys = {"model", "images", "edited", "inputs", "outputs", "host", "norms", "cache_bytes",
            "weight_floats"}  # fmt: skip
    if not isinstance(found, dict) or found.get("format") != FORMAT or keys - set(found):
        raise InvalidModel(f"is not of the form {FORMAT}", at=str(path), hint="compile it again")
    return found


def _read_weights(folder: Path, floats: int) -> np.ndarray:
    path = folder / WEIGHTS
    try:
        found = np.fromfile(path, "<f4")
    except OSError as error:
        raise InvalidModel(error.strerror or "can't be read", at=str(path)) from error
    if found.size != floats:
        raise InvalidModel(f"{found.size} numbers, {floats} are expected", at=str(path))
    return found


def _host_of(folder: Path, name: str) -> Graph:
    try:
        text, arrays = (folder / GRAPH).read_bytes(), (folder / CONSTANTS).read_bytes()
    except OSError as error:
        raise InvalidModel(error.strerror or "can't be read", at=str(error.filename)) from error
    return host_from_json(text, arrays, name)


def _port_of(end: Mapping[str, Any]) -> Port:
    return Port(end["value"], end["name"], tuple(end["shape"]), tuple(end["order"]))


def _load(path: Path) -> Any:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolFailed(f"the library can't be loaded: {error}", at=str(path)) from error


def _open_library(path: Path) -> Any:
    loaded = _load(path)
    for name, result, arguments in (
        ("tm_edit_open", _POINTER, [_POINTER, _POINTER]),
        ("tm_edit_close", None, [_POINTER]),
        ("tm_edit_map", _POINTER, [_POINTER, ctypes.c_int32]),
        ("tm_edit_stride", ctypes.c_int32, [_POINTER, ctypes.c_int32]),
        ("tm_edit_active", _POINTER, [_POINTER, ctypes.c_int32]),
        ("tm_edit_norm_scale", _POINTER, [_POINTER, ctypes.c_int32]),
        ("tm_edit_precompute", ctypes.c_int32, [_POINTER, _POINTER]),
        ("tm_edit_run", ctypes.c_int32, [_POINTER] * 5),
        ("tm_edit_undo", ctypes.c_int32, [_POINTER]),
        ("tm_edit_threads", None, [ctypes.c_int32]),
    ):
        function = getattr(loaded, name)
        function.restype = result
        function.argtypes = arguments
    return loaded
