"""``edit``: sparse engines of generators and U-Nets, and edits of pictures by them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..editing import SparseEngine, emit
from ..editing.engine import read_manifest
from ..errors import InvalidInput, TinymillError
from ..files import written_whole
from ..samples import End, columns_of, picture_shape


@dataclass(frozen=True)
class EditProject:
    """What ``edit_compile`` wrote."""

    name: str
    backend: str
    output: Path
    edited: str
    shape: tuple[int, ...]
    layers: int
    cache_bytes: int
    """Memory of the activations that stay between runs."""
    recomputed: tuple[str, ...]
    """Values that the cache has no room for: computed whole in every run."""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "output": str(self.output)}


@dataclass(frozen=True)
class Distance:
    """Between the sparse result and the model run whole on the edited picture."""

    largest: float
    psnr: float | None
    """In dB of the result's range; None where both are equal."""
    psnr_inside: float | None
    """The same over the edited pixels."""


@dataclass(frozen=True)
class Edited:
    """One edit of a picture."""

    mode: str
    statistics: str
    active: float
    """Share of pixels that are edited."""
    macs: int
    dense_macs: int
    milliseconds: float
    dense_milliseconds: float
    precompute_milliseconds: float
    cache_bytes: int
    distance: Distance
    warnings: tuple[str, ...]
    output: Path

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "output": str(self.output)}


def edit_compile(
    model: str | Path,
    *,
    output: str | Path,
    backend: str = "cpu",
    edited: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    cache_limit: int | None = None,
) -> EditProject:
    """Writes the project of a sparse engine; see ``tinymill.editing.compile``.

    Raises ``CompileError`` and its kinds, ``InvalidInput``.
    """
    folder = emit(
        model, output, backend=backend, edited=edited, shapes=shapes, cache_limit=cache_limit
    )
    found = read_manifest(folder)
    return EditProject(
        found["model"], found["backend"], folder, found["edited"]["name"],
        tuple(found["edited"]["shape"]), found["layers"], found["cache_bytes"],
        tuple(found["recomputed"]),
    )  # fmt: skip


def edit_run(
    folder: str | Path,
    *,
    original: str | Path,
    edited: str | Path,
    output: str | Path,
    mask: str | Path | None = None,
    inputs: Mapping[str, str] | None = None,
    mode: str = "exact",
    statistics: str = "cached",
    threshold: float = 0.0,
    dilation: int = 0,
    mean: float | None = None,
    std: float | None = None,
    resize: bool = False,
    threads: int | None = None,
    cc: str | None = None,
) -> Edited:
    """Runs a project on a picture, then on its edit, and writes what the edit gives.

    Pictures or .npy files; ``mask`` is one, too: what is not black is edited. ``inputs`` gives
    the model's other inputs by name: a number, or a .npy file. A pixel becomes (pixel - ``mean``)
    / ``std`` (defaults 0 and 255), and back in the output. Raises ``InvalidInput`` and what
    ``SparseEngine`` raises.
    """
    target = Path(output)
    engine = SparseEngine(folder, threads=threads, cc=cc)
    if len(engine.manifest["outputs"]) != 1:
        raise InvalidInput("a model of several outputs", at=engine.name)
    end = _end(engine.manifest["edited"])
    x0, x1 = (_sample(path, end, mean, std, resize) for path in (original, edited))
    chosen = None if mask is None else _mask(Path(mask), engine, resize)
    others = {name: _other(name, text, engine) for name, text in (inputs or {}).items()}
    _check_target(target, engine)
    begin = time.perf_counter()
    engine.precompute(x0, **others)
    precomputed = time.perf_counter() - begin
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        y = engine(
            x1, chosen, mode=mode, statistics=statistics, threshold=threshold, dilation=dilation
        )
    run = engine.last
    assert run is not None
    if chosen is not None:
        x1 = _composed(engine, x0, x1, chosen)
    begin = time.perf_counter()
    dense = engine.dense(x1)
    whole = time.perf_counter() - begin
    _save(y, target, engine, mean, std)
    return Edited(
        mode, statistics, run.active, run.macs, run.dense_macs, run.milliseconds, whole * 1e3,
        precomputed * 1e3, engine.cache_bytes, _distance(y, dense, x0 != x1, engine),
        tuple(str(each.message) for each in told), target,
    )  # fmt: skip


def _end(entry: Mapping[str, Any]) -> End:
    return End(entry["name"], np.dtype(entry["dtype"]), tuple(entry["shape"]),
               tuple(entry["order"]), None, None)  # fmt: skip


def _sample(
    path: str | Path, end: End, mean: float | None, std: float | None, resize: bool
) -> np.ndarray:
    columns, count = columns_of([path], [end], mean=mean, std=std, resize=resize)
    if count != 1:
        raise InvalidInput(f"{count} samples, one is needed", at=str(path))
    return columns[0][0]


def _mask(path: Path, engine: SparseEngine, resize: bool) -> np.ndarray:
    images, height, width = engine.mask_shape
    if path.suffix == ".npy":
        end = End("mask", np.dtype(np.float32), (images, height, width), (0, 1, 2), None, None)
        return _sample(path, end, None, None, False) != 0
    end = End("mask", np.dtype(np.float32), (1, height, width, 1), (0, 1, 2, 3), None, None)
    picture = _sample(path, end, 0.0, 1.0, resize)
    return np.broadcast_to(picture[..., 0] != 0, (images, height, width))


def _other(name: str, text: str, engine: SparseEngine) -> np.ndarray:
    """Another input of the model: a number for all its elements, or a .npy file."""
    entry = next((e for e in engine.manifest["inputs"] if e["name"] == name), None)
    if entry is None:
        raise InvalidInput("no such input", at=name)
    end = _end(entry)
    if text.endswith(".npy"):
        return _sample(text, end, None, None, False)
    try:
        number = float(text)
        array = np.full(end.shape, number, end.dtype)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{text!r} is neither a number nor a .npy file", at=name) from error
    if float(array.flat[0]) != number and end.dtype.kind == "i":
        raise InvalidInput(f"{text} for an input of {end.dtype}", at=name)
    return array


def _composed(engine: SparseEngine, x0: np.ndarray, x1: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``x1`` where the mask is, else ``x0``, in the model's layout."""
    order = engine.manifest["edited"]["order"]
    ours = mask[..., None] & np.ones(engine.manifest["edited"]["ours"], bool)
    return np.where(ours.transpose(np.argsort(order)), x1, x0)


def _distance(
    y: np.ndarray, dense: np.ndarray, changed: np.ndarray, engine: SparseEngine
) -> Distance:
    order = engine.manifest["edited"]["order"]
    pixels = np.asarray(changed.transpose(order).any(axis=-1))
    out = engine.manifest["outputs"][0]
    ours, wanted = (array.transpose(out["order"]).reshape(out["ours"]) for array in (y, dense))
    inside: float | None = None
    if len(out["ours"]) == 4:
        rows, columns = (
            np.arange(out["ours"][a]) * pixels.shape[a] // out["ours"][a] for a in (1, 2)
        )
        where = pixels[:, rows][:, :, columns]
        inside = _psnr(ours[where], wanted[where], float(np.ptp(dense)))
    largest = float(np.abs(y - dense).max(initial=0.0))
    return Distance(largest, _psnr(y, dense, float(np.ptp(dense))), inside)


def _psnr(first: np.ndarray, second: np.ndarray, peak: float) -> float | None:
    error = float(np.mean((first.astype(np.float64) - second) ** 2)) if first.size else 0.0
    return None if error == 0 or peak == 0 else 10 * math.log10(peak * peak / error)


def _check_target(path: Path, engine: SparseEngine) -> None:
    """Before anything is computed: can the output be written there as what its name says?"""
    if path.suffix == ".npy":
        return
    if path.suffix.lower() not in (".png", ".bmp"):
        raise InvalidInput("write it as .png, .bmp or .npy", at=str(path))
    picture_shape(_end(engine.manifest["outputs"][0]), path)


def _save(
    y: np.ndarray, path: Path, engine: SparseEngine, mean: float | None, std: float | None
) -> None:
    with written_whole(path) as stream:
        if path.suffix == ".npy":
            np.save(stream, y)
            return
        *_, first = picture_shape(_end(engine.manifest["outputs"][0]), path)
        real = y[0].transpose(1, 2, 0) if first else y[0]
        pixels = np.rint(real * (255.0 if std is None else std) + (mean or 0.0))
        picture = np.clip(pixels, 0, 255).astype(np.uint8)
        try:
            Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(
                stream, format=path.suffix[1:]
            )
        except (KeyError, ValueError) as error:
            raise TinymillError(f"can't be written ({error})", at=str(path)) from error
