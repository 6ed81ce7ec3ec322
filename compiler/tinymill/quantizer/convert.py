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

from .runtime import QUIET, WARNINGS, onnxruntime, refusals

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
ENTROPY_BINS = 512
"""Of the histogram that is cut; the quantiser's default, one a step, leaves nothing to cut."""


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
    quantizers = onnxruntime("onnxruntime.quantization.qdq_quantizer")
    loading = onnxruntime("onnxruntime.quantization.quant_utils")
    known = {*registry.QLinearOpsRegistry, *registry.QDQRegistry, *MORE_OPS}
    ops = sorted(known - set(FLOAT_OPS))
    kind = quantization.QuantType.QInt8
    overrides = {
        name: [{"scale": np.array(scale, np.float32), "zero_point": np.array(zero, np.int8)}]
        for name, (scale, zero) in inputs.items()
    }
    with tempfile.TemporaryDirectory(prefix="tinymill-") as folder, refusals("quantise the model"):
        source = Path(folder) / "float.onnx"
        onnx.save(model, source)
        with _silence():
            ranges = _ranges(source, ops, feed, count, method, percentile, step)
            quantizer = quantizers.QDQQuantizer(
                loading.load_model_with_shape_infer(source),
                True,  # per channel
                False,  # all eight bits of the weights
                kind,
                kind,
                ranges,
                [],
                [],
                ops,
                {"TensorQuantOverrides": overrides},
            )
            quantizer.quantize_model()
    found: onnx.ModelProto = quantizer.model.model
    kept = [item for item in found.metadata_props if not item.key.startswith("onnx.infer")]
    del found.metadata_props[:]
    found.metadata_props.extend(kept)
    return found


def _ranges(
    source: Path,
    ops: list[str],
    feed: Feeds,
    count: int,
    method: Method,
    percentile: float,
    step: Callable[[], None],
) -> Any:
    """The ranges of all activations, as the quantiser takes them."""
    calibrate = onnxruntime("onnxruntime.quantization.calibrate")
    kinds = calibrate.CalibrationMethod
    kind, options = {
        "minmax": (kinds.MinMax, {}),
        "entropy": (kinds.Entropy, {"num_bins": ENTROPY_BINS}),
        "percentile": (kinds.Percentile, {"percentile": percentile, "symmetric": False}),
    }[method]
    calibrator = calibrate.create_calibrator(
        source, ops, augmented_model_path=str(source.with_name("augmented.onnx")),
        calibrate_method=kind, extra_options=options,
    )  # fmt: skip
    for start in range(0, count, AT_ONCE):
        calibrator.collect_data(_reader(feed, start, min(start + AT_ONCE, count), step))
    return calibrator.compute_data()


def _reader(feed: Feeds, start: int, stop: int, step: Callable[[], None]) -> Any:
    """A calibration reader over some of the samples."""
    base: Any = onnxruntime("onnxruntime.quantization.calibrate").CalibrationDataReader

    class Reader(base):
        def __init__(self) -> None:
            self._next = start

        def get_next(self) -> dict[str, np.ndarray] | None:
            if self._next >= stop:
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
    onnxruntime().set_default_logger_severity(QUIET)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
        onnxruntime().set_default_logger_severity(WARNINGS)
