"""Float models to int8 ONNX: prepared and improved here, quantised by ONNX Runtime (an extra)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import onnx

from ..errors import InvalidInput
from ..samples import End
from .convert import Method, quantize_ranges
from .correct import correct_bias
from .dataset import Preparation, Samples, read_samples
from .edit import Editor
from .equalize import channel_ranges, equalize
from .measure import LayerError, class_count, layer_errors, output_sqnr, right_answers
from .prepare import prepare

Progress = Callable[[str, int], Callable[[], None]]
"""Called with what begins and its number of steps; what it gives is called after each step."""

COMPARED = 64
"""Samples over which the layers' errors are measured."""
CLEARLY = 1.0
"""Decibels that an equalised model's outputs may be worse than those of a plain one."""


@dataclass(frozen=True)
class Converted:
    """An int8 model, the float one that it was made from, and what was done: how many pairs of
    layers were equalised, how many layers corrected, which ones (name, reason) could not be."""

    real: onnx.ModelProto
    model: onnx.ModelProto
    inputs: tuple[End, ...]
    equalized: int
    corrected: int
    left_out: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    layers: tuple[LayerError, ...]


def inputs_of(model: onnx.ModelProto) -> tuple[End, ...]:
    """The inputs of a prepared model."""
    ends = []
    for item in model.graph.input:
        shape = tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim)
        order = tuple(range(len(shape)))
        ends.append(End(item.name, np.dtype(np.float32), shape, order, None, None))
    return tuple(ends)


def convert(
    model: onnx.ModelProto,
    samples: Samples,
    preparation: Preparation,
    *,
    method: Method,
    percentile: float,
    equalized: bool,
    corrected: bool,
    progress: Progress,
) -> Converted:
    """A prepared model as int8, the ranges of its activations taken from ``samples``."""
    if method not in get_args(Method):
        raise InvalidInput(f"method is {method!r}, not one of {', '.join(get_args(Method))}")
    if not 50 <= percentile <= 100:
        raise InvalidInput(f"percentile {percentile:g}", hint="50 to 100 are possible")
    inputs = inputs_of(model)
    few = samples.spread(COMPARED)

    def attempt(reference: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
        """The int8 form of a float model, and how many biases were corrected for it."""
        changed = _copy(reference)
        layers = 0
        if corrected:
            step = progress("correcting biases", samples.count)
            layers = correct_bias(Editor(changed), samples.feed, samples.count, step)
        found = quantize_ranges(
            changed, samples.feed, samples.count, method=method, percentile=percentile,
            inputs=_pixels(inputs, preparation) if samples.pixels else {},
            step=progress("calibrating", samples.count),
        )  # fmt: skip
        return found, layers

    reference = model  # the scales of its values are those of the int8 model
    found, layers = attempt(model)
    pairs, warnings = 0, []
    if equalized:
        even = _copy(model)
        editor = Editor(even)
        step = progress("ranges of channels", few.count)
        pairs = equalize(editor, channel_ranges(editor, few.feed, few.count, step))
        if pairs:
            other, count = attempt(even)
            step = progress("comparing outputs", few.count)
            plain_db, even_db = output_sqnr(model, (found, other), few.feed, few.count, step)
            told = f"outputs at {even_db:.1f} dB, {plain_db:.1f} dB without equalising"
            if even_db < plain_db - CLEARLY:
                pairs = 0
                warnings.append(f"{told}: it is left out")
            else:
                reference, found, layers = even, other, count
                if even_db < plain_db:
                    warnings.append(told)
    errors = layer_errors(
        reference, found, few.feed, few.count, progress("comparing layers", few.count)
    )
    left_out = tuple(Editor(model).left_out()) if equalized or corrected else ()
    return Converted(model, found, inputs, pairs, layers, left_out, tuple(warnings), errors)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _pixels(inputs: Sequence[End], preparation: Preparation) -> Mapping[str, tuple[float, int]]:
    """Scale and zero point of a picture's input for which its int8 form is pixel - 128, where
    one mean that is a whole number and one std serve all channels."""
    mean = preparation.mean or (0.0,)
    std = preparation.std or (255.0,)
    if len({*mean}) > 1 or len({*std}) > 1 or std[0] <= 0 or mean[0] not in range(256):
        return {}
    return {end.name: (1 / std[0], int(mean[0]) - 128) for end in inputs}


__all__ = [
    "Converted",
    "LayerError",
    "Method",
    "Preparation",
    "Progress",
    "Samples",
    "class_count",
    "convert",
    "inputs_of",
    "prepare",
    "read_samples",
    "right_answers",
]
