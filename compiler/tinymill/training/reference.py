"""Training in numpy: the truth that the C of a step is held against, and a trainer for any use.

The part of a step before the first trained layer gives the same each time for the same input; it
is computed once for each (``prepare``), with the same arithmetic.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInput
from ..ir import Graph, interpret
from .step import Training, from_frozen

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Stepped:
    """What one step gave: the loss before it, and the logits (int8 [1, K])."""

    loss: float
    logits: np.ndarray


class Trainer:
    """Runs a ``Training`` by the references of its ops; ``state`` are the variables."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.frozen, rest = from_frozen(training)
        self.rest = rest.step
        self.state: dict[str, np.ndarray] = dict(training.step.variables)
        self._forward: Graph | None = rest.inference if rest.inference.nodes else None
        (self._target,) = (p for p in training.step.inputs if p.name in ("label", "target"))
        (self._rate,) = (p for p in training.step.inputs if p.name == "rate")

    def prepare(self, inputs: Values) -> dict[str, np.ndarray]:
        """What comes before the first trained layer, for inputs by value."""
        values = interpret(self.frozen, inputs)
        return {port.value: values[port.value] for port in self.frozen.outputs}

    def step(self, prepared: Values, target: int | np.ndarray, rate: float) -> Stepped:
        """One step; raises ``InvalidInput`` for a wrong label or a rate that is no number, then
        nothing is changed."""
        kind = self.training.step.type(self._target.value)
        if not np.isfinite(np.float32(rate)):
            raise InvalidInput(f"a learning rate of {rate}")
        wanted = np.array(target, kind.dtype.numpy).reshape(kind.shape)
        state = dict(self.state)
        values = interpret(
            self.rest,
            {
                **prepared,
                self._target.value: wanted,
                self._rate.value: np.array([rate], np.float32),
            },
            state,
        )
        self.state = state
        return Stepped(float(values[self.training.loss][0]), values[self.training.logits])

    def logits(self, prepared: Values) -> np.ndarray:
        """int8 [1, K], by the variables as they are."""
        if self._forward is None:
            return prepared[self.training.logits]
        named = {port.value for port in self._forward.inputs}
        inputs = {name: array for name, array in prepared.items() if name in named}
        return interpret(self._forward, inputs, dict(self.state))[self.training.logits]

    def crc32(self) -> int:
        """That of the trained part."""
        return weights_crc32(self.training, self.state)


def weights_crc32(training: Training, state: Values) -> int:
    """CRC-32 of the trained variables' bytes (little endian), layer by layer as they run: the
    weights, where they are trained, then the bias."""
    total = 0
    for name in training.trained:
        array = state[name]
        total = zlib.crc32(array.astype(array.dtype.newbyteorder("<")).tobytes(), total)
    return total


def accuracy(trainer: Trainer, prepared: Iterable[Values], labels: Sequence[int]) -> float:
    """The share of inputs whose largest logit (the first of equals) is that of the label."""
    right = [
        int(np.argmax(trainer.logits(values))) == label
        for values, label in zip(prepared, labels, strict=True)
    ]
    return sum(right) / max(1, len(right))
