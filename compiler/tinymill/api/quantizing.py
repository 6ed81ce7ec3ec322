"""``quantize``: a float model as int8 ONNX, and what that costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..errors import InvalidInput, ToolMissing
from ..files import written_whole
from ..ir import DType
from ..loaded import FRAMES_AT_ONCE, default_threads
from ..ops.quantization import Quantize
from ..quantizer import (
    LayerError,
    Method,
    Preparation,
    Samples,
    convert,
    inputs_of,
    prepare,
    read_samples,
    right_answers,
)
from .compiling import compile
from .loading import load


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
    ``unquantized`` names the layers that compute in float."""

    output: Path
    bytes: int
    samples: int
    equalized: int
    corrected: int
    layers: tuple[LayerError, ...]
    unquantized: tuple[str, ...]
    accuracy: Accuracy | None

    def worst(self, most: int = 3) -> tuple[LayerError, ...]:
        """The layers furthest from the float model, the worst first."""
        return tuple(sorted(self.layers, key=lambda layer: layer.sqnr_db)[:most])


def quantize(
    model: str | Path,
    *,
    calibration: str | Path,
    output: str | Path,
    method: Method = "minmax",
    percentile: float = 99.99,
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
    ``percentile``. ``quantizer.read_samples`` says what the data may be. ``evaluate`` is labelled
    data to measure with (default: the calibration data, if it has labels); ``labels`` are that
    data's. ``equalize`` and ``correct_bias`` are those of Nagel et al. (2019). The result is one
    that ``compile`` takes, else nothing is written. Raises ``CompileError`` and its kin,
    ``InvalidInput``, ``ToolMissing`` without ONNX Runtime.
    """
    source, target = Path(model), Path(output)
    if target.suffix != ".onnx":
        raise InvalidInput("the int8 model is written as .onnx", at=str(target))
    if not target.parent.is_dir() or target.is_dir():
        raise InvalidInput("can't be written there", at=str(target))
    if samples < 1:
        raise InvalidInput(f"{samples} samples to calibrate with")
    preparation = preparation or Preparation()
    real = prepare(source, shapes)
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
    found = convert(
        real, data.spread(samples), preparation, method=method, percentile=percentile,
        equalized=equalize, corrected=correct_bias, progress=progress,
    )  # fmt: skip
    content = found.model.SerializeToString()
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        written = Path(name) / "quantized.onnx"
        written.write_bytes(content)
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
        found.layers, floats, accuracy,
    )  # fmt: skip


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
