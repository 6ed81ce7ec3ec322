"""The quantising itself: ONNX Runtime's static quantiser, QDQ, int8, one scale a channel."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from .runtime import onnxruntime, refusals

Method = Literal["minmax", "entropy", "percentile"]
Feeds = Callable[[int], dict[str, np.ndarray]]
AT_ONCE = 16
"""Samples whose intermediate values are held together."""

MORE_OPS = (
    "Abs", "Celu", "DepthToSpace", "Div", "Elu", "Exp", "Gelu", "GlobalMaxPool", "HardSigmoid",
    "HardSwish", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "ReduceMax", "ReduceMean",
    "ReduceMin", "Selu", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh", "ThresholdedRelu",
)  # fmt: skip
"""Operators with integer forms here that the quantiser takes only where they are named."""
FLOAT_OPS = ("BatchNormalization", "TopK", "CumSum")
"""Operators without: their ends stay float."""
_MARK = "onnx.quant.pre.process"


def quantize_ranges(
    model: onnx.ModelProto,
    feed: Feeds,
    count: int,
    *,
    method: Method,
    percentile: float,
    inputs: Mapping[str, tuple[float, int]],
    step: Callable[[], None],
) -> onnx.ModelProto:
    """The int8 model. Ranges of activations come from ``count`` samples by ``method``; ``inputs``
    gives the scale and zero point of inputs that are known. ``step`` is called for each sample.
    """
    quantization = onnxruntime("onnxruntime.quantization")
    registry = onnxruntime("onnxruntime.quantization.registry")
    known = {*registry.QLinearOpsRegistry, *registry.QDQRegistry, *MORE_OPS}
    methods = {
        "minmax": quantization.CalibrationMethod.MinMax,
        "entropy": quantization.CalibrationMethod.Entropy,
        "percentile": quantization.CalibrationMethod.Percentile,
    }
    kind = quantization.QuantType.QInt8
    overrides = {
        name: [{"scale": np.array(scale, np.float32), "zero_point": np.array(zero, np.int8)}]
        for name, (scale, zero) in inputs.items()
    }
    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    # prepared: the quantiser need not say how
    marked.metadata_props.add(key=_MARK, value="onnxruntime.quant")
    with tempfile.TemporaryDirectory(prefix="tinymill-") as folder, refusals("quantise the model"):
        written = Path(folder) / "quantised.onnx"
        with _silence():
            quantization.quantize_static(
                marked,
                written,
                _reader(feed, count, step),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=sorted(known - set(FLOAT_OPS)),
                per_channel=True,
                activation_type=kind,
                weight_type=kind,
                calibrate_method=methods[method],
                extra_options={
                    "TensorQuantOverrides": overrides,
                    "CalibStridedMinMax": _stride(count),
                    **({"CalibPercentile": percentile} if method == "percentile" else {}),
                },
            )
        found = onnx.load(written)
    kept = [item for item in found.metadata_props if item.key != _MARK]
    del found.metadata_props[:]
    found.metadata_props.extend(kept)
    return found


def _stride(count: int) -> int:
    """The most samples at once that divide ``count``, as the quantiser wants it."""
    return max(n for n in range(1, AT_ONCE + 1) if count % n == 0)


def _reader(feed: Feeds, count: int, step: Callable[[], None]) -> Any:
    """A calibration reader over the samples; it is asked for ranges of them, in order."""
    base: Any = onnxruntime("onnxruntime.quantization").CalibrationDataReader

    class Reader(base):
        def __init__(self) -> None:
            self._next, self._end = 0, count

        def __len__(self) -> int:
            return count

        def set_range(self, start_index: int, end_index: int) -> None:
            self._next, self._end = start_index, end_index

        def get_next(self) -> dict[str, np.ndarray] | None:
            if self._next >= self._end:
                return None
            self._next += 1
            step()
            return feed(self._next - 1)

    return Reader()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without what the quantiser prints and logs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
