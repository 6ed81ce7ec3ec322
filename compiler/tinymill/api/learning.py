"""A model's file made trainable: its scheme, a new head where one is asked for, two graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInput, InvalidScheme
from ..frontends import read_model
from ..ir import DType, Graph, Port, TensorType
from ..ops.arithmetic import quantize
from ..ops.losses import SquaredLoss
from ..training.head import with_new_head
from ..training.scheme import Scheme, read_scheme
from ..training.step import Sample, Training, build, logits_of, loss_op
from .lowering import lowered


def trainable(
    model: str | Path,
    scheme: str | Path | Scheme,
    *,
    classes: int | None = None,
    samples: Sequence[Any] = (),
    labels: Sequence[int] | None = None,
    output: str | None = None,
) -> Training:
    """A model and the step that trains it, ready for ``compile_trainable`` or a ``Trainer``.

    ``scheme`` is a file, the name of a shipped scheme, or a ``Scheme``; one with a new head needs
    ``classes``. ``samples`` (of models with one input, in the source's layout: the input's
    integers, or reals) set the scale of a new head and the exponents of gradients; without
    ``labels`` these are drawn. ``output`` names the output to train, by default the first.

    Raises ``InvalidScheme``, ``InvalidInput``, ``CompileError`` and its kin.
    """
    found = scheme if isinstance(scheme, Scheme) else read_scheme(scheme)
    graph = lowered(read_model(Path(model)), "quantized", "exact", None)
    inputs = [_sample(graph, sample) for sample in samples]
    if found.head == "new":
        if classes is None:
            raise InvalidScheme("a new head for how many classes?", hint="give classes")
        graph = with_new_head(graph, classes, found.seed, inputs, output=output)
    kind = graph.type(logits_of(graph, output))
    count = kind.shape[-1]
    if classes is not None and classes != count:
        raise InvalidScheme(
            f"{classes} classes, the model's head has {count}", hint='"head": "new" makes another'
        )
    if isinstance(loss_op(found), SquaredLoss):
        # targets are of the output's own kind; their sizes are guessed
        return build(graph, found, output=output)
    if labels is None:
        labels = np.random.default_rng(found.seed).integers(count, size=len(inputs)).tolist()
    if len(labels) != len(inputs):
        raise InvalidInput(f"{len(labels)} labels for {len(inputs)} samples")
    pairs: list[Sample] = [
        (each, np.array([label], np.int32)) for each, label in zip(inputs, labels, strict=True)
    ]
    return build(graph, found, pairs, output=output)


def _sample(graph: Graph, sample: Any) -> dict[str, np.ndarray]:
    """One sample as the graph's input."""
    if len(graph.inputs) != 1:
        raise InvalidInput(f"samples of a model with {len(graph.inputs)} inputs, must be one")
    (port,) = graph.inputs
    kind = graph.type(port.value)
    array = np.asarray(sample)
    if array.size != kind.count or array.dtype.kind not in "iuf":
        raise InvalidInput(
            f"a sample of {array.dtype}{list(array.shape)} for an input of {list(port.shape)}",
            at=port.name,
        )
    return {port.value: _integers(port, kind, array)}


def _integers(port: Port, kind: TensorType, array: np.ndarray) -> np.ndarray:
    ours = port.from_source(array.reshape(port.shape), kind.shape)
    if array.dtype.kind == "f" and kind.dtype is not DType.FLOAT32:
        if kind.quant is None:
            raise InvalidInput(f"reals for {kind}", at=port.name)
        return quantize(ours.astype(np.float32), kind)
    if array.dtype != kind.dtype.numpy:
        raise InvalidInput(f"a sample of {array.dtype} for {kind}", at=port.name)
    return ours
