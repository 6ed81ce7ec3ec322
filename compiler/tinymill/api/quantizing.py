"""``quantize``: a float model as int8 ONNX, and what that costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..errors import InvalidInput, TinymillError, ToolMissing
from ..files import written_whole
from ..frontends import read_model
from ..ir import DType
from ..loaded import FRAMES_AT_ONCE, default_threads
from ..ops.quantization import Quantize
from ..quantizer import (
    LayerError,
    Method,
    Preparation,
    Samples,
    class_count,
    convert,
    inputs_of,
    prepare,
    read_samples,
    right_answers,
)
from .compiling import compile
from .loading import load
from .lowering import lowered

PERCENTILE = 99.99
"""Of the values, where the method is "percentile"."""


@dataclass(frozen=True)
class Accuracy:
    """Right answers of the float model and of the int8 one. ``by`` says who computed the latter:
    the compiled C, or ONNX Runtime where no C compiler is installed."""

    samples: int
    real: float
    quantized: float
    by: str


@dataclass(frozen=True)
class Quantized:
    """What ``quantize`` made. ``equalized`` counts pairs of layers, ``corrected`` layers;
    ``left_out`` are the layers that could be neither, with the reason, ``warnings`` lines about
    what was asked for and not done. ``unquantized`` names the layers that compute in float."""

    output: Path
    bytes: int
    samples: int
    equalized: int
    corrected: int
    layers: tuple[LayerError, ...]
    unquantized: tuple[str, ...]
    accuracy: Accuracy | None
    left_out: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def worst(self, most: int = 3) -> tuple[LayerError, ...]:
        """The layers furthest from the float model, the worst first."""
        return tuple(sorted(self.layers, key=lambda layer: layer.sqnr_db)[:most])


def quantize(
    model: str | Path,
    *,
    calibration: str | Path,
    output: str | Path,
    method: Method = "minmax",
    percentile: float | None = None,
    samples: int = 256,
    equalize: bool = False,
    correct_bias: bool = False,
    evaluate: str | Path | None = None,
    labels: str | Path | None = None,
    classes: Sequence[str] | None = None,
    preparation: Preparation | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Callable[[str, int], Callable[[], None]] = lambda what, steps: lambda: None,
) -> Quantized:
    """Writes a float model (ONNX, TFLite) as int8 ONNX (QDQ, weights per channel) to ``output``.

    The ranges of activations come from at most ``samples`` of ``calibration``, spread over all:
    least and greatest value ("minmax"), or cut where it costs least ("entropy") or at a
    ``percentile`` (of "percentile" only: 99.99). ``quantizer.read_samples`` says what the data
    may be. ``evaluate`` is labelled data to measure with (default: the calibration data, if it
    has labels); ``labels`` are that data's. ``equalize`` and ``correct_bias`` are those of Nagel
    et al. (2019); an equalised model that is clearly further from the float one than a plain one
    is not taken. The result is one that ``compile`` takes, else nothing is written. Raises
    ``CompileError`` and its kin, ``InvalidInput``, ``ToolMissing`` without ONNX Runtime.
    """
    source, target = Path(model), Path(output)
    if target.suffix != ".onnx":
        raise InvalidInput("the int8 model is written as .onnx", at=str(target))
    if not target.parent.is_dir() or target.is_dir():
        raise InvalidInput("can't be written there", at=str(target))
    if samples < 1:
        raise InvalidInput(f"{samples} samples to calibrate with")
    if percentile is not None and method != "percentile":
        raise InvalidInput(
            f"a percentile with the method {method}", hint="--method percentile takes one"
        )
    preparation = preparation or Preparation()
    real = prepare(source, shapes)
    _check_compiles(real, source)
    ends = inputs_of(real)
    own_labels = None if labels is None or evaluate is not None else Path(labels)
    data = read_samples(Path(calibration), ends, preparation, labels=own_labels, classes=classes)
    judged: Samples | None = data
    if evaluate is not None:
        judged = read_samples(
            Path(evaluate), ends, preparation, labels=None if labels is None else Path(labels),
            classes=classes,
        )  # fmt: skip
        if judged.labels is None:
            raise InvalidInput("has no labels to measure with", at=str(evaluate))
    elif data.labels is None:
        judged = None
    if judged is not None:
        _check_labels(real, judged, evaluate or calibration, labels)
    found = convert(
        real, data.spread(samples), preparation, method=method,
        percentile=PERCENTILE if percentile is None else percentile,
        equalized=equalize, corrected=correct_bias, progress=progress,
    )  # fmt: skip
    content = found.model.SerializeToString()
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        written = Path(name) / "quantized.onnx"
        written.write_bytes(content)
        with _in_words_of(written, source):
            compiled = compile(written, io="float")
        accuracy = None if judged is None else _accuracy(real, written, judged, progress)
    floats = tuple(
        node.name
        for node in compiled.plan.graph.nodes
        if not isinstance(node.op, Quantize)
        and any(compiled.plan.graph.type(value).dtype is DType.FLOAT32 for value in node.outputs)
        and any(
            value and compiled.plan.graph.type(value).dtype is DType.FLOAT32
            for value in node.inputs
        )
    )
    with written_whole(target) as stream:
        stream.write(content)
    return Quantized(
        target, len(content), min(samples, data.count), found.equalized, found.corrected,
        found.layers, floats, accuracy, found.left_out, found.warnings,
    )  # fmt: skip


@contextmanager
def _in_words_of(written: Path, source: Path) -> Iterator[None]:
    """Failures on a file of ours, as failures on the one that it was made from."""
    try:
        yield
    except TinymillError as error:
        node = "" if error.at is None else error.at.removeprefix(str(written)).lstrip(": ,")
        error.at = f"{source}, {node}" if node else str(source)
        raise


def _check_compiles(real: onnx.ModelProto, source: Path) -> None:
    """Raises what ``compile`` would raise on the model after it is quantised, where it would on
    the float one: before it is calibrated, which may take long."""
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        written = Path(name) / "float.onnx"
        onnx.save(real, written)
        with _in_words_of(written, source):
            lowered(read_model(written), "float", "exact", None)


def _check_labels(
    real: onnx.ModelProto, judged: Samples, data: str | Path, labels: str | Path | None
) -> None:
    """Raises ``InvalidInput`` for a label that is none of the model's classes."""
    assert judged.labels is not None
    classes = class_count(real, judged.feed)
    wrong = np.flatnonzero((judged.labels < 0) | (judged.labels >= classes))
    if wrong.size:
        raise InvalidInput(
            f"label {judged.labels[wrong[0]]} of sample {wrong[0]}: the model has {classes:,} "
            f"classes, 0 to {classes - 1:,}",
            at=str(data if labels is None else labels),
        )


def _accuracy(
    real: Any,
    written: Path,
    judged: Samples,
    progress: Callable[[str, int], Callable[[], None]],
) -> Accuracy:
    """Of the prepared float model, and of the int8 one with float ends."""
    assert judged.labels is not None
    count = judged.count
    right = right_answers(real, judged.feed, judged.labels, progress("float model", count))
    step = progress("int8 model", count)
    try:
        loaded = load(written, io="float", threads=default_threads())
    except ToolMissing:
        answers = right_answers(onnx.load(written), judged.feed, judged.labels, step)
        return Accuracy(count, right / count, answers / count, "ONNX Runtime")
    answers = 0
    for start in range(0, count, FRAMES_AT_ONCE):
        places = range(start, min(start + FRAMES_AT_ONCE, count))
        feeds = [judged.feed(index) for index in places]
        batch = {end.name: np.stack([feed[end.name] for feed in feeds]) for end in loaded.inputs}
        found = loaded.run(batch)[loaded.output_names[0]].reshape(len(feeds), -1)
        answers += int((found.argmax(axis=1) == judged.labels[places.start : places.stop]).sum())
        for _ in places:
            step()
    return Accuracy(count, right / count, answers / count, "the compiled C")
