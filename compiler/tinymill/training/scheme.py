"""What is trained: a small JSON file, and what it means for a model.

Layers are convolutions and fully connected layers, in the order in which they run. A file names
them by position (negative from the end, so that a new head keeps its place) or by a pattern of
names, so one file serves many models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..errors import InvalidScheme
from ..ir import Graph, Node
from ..ops.conv import Conv2D
from ..ops.conv_gradient import ohwi
from ..ops.dense import FullyConnected
from ..ops.mantissas import ROUNDINGS

FORMAT = "tinymill training scheme"
VERSION = 1
LOSSES = ("softmax", "squared", "margin")
HEADS = ("keep", "new")
SHIPPED = Path(__file__).resolve().parent / "schemes"
LARGEST_FILE = 1 << 20
Selector = int | str


@dataclass(frozen=True)
class Weights:
    """Layers whose weights are trained: of all input channels (of each group), of the first
    ``share``, of [first, last), or of those listed."""

    layer: Selector
    share: float | None = None
    channels: tuple[int, int] | None = None
    chosen: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Scheme:
    """``biases``: how many of the last layers, or selectors; ``rate`` is a hint for the caller;
    ``margin`` is that of the margin loss, in reals. ``scaling``: steps are divided by the squares
    of scales, so that they are those of the reals; without, they are of the integers."""

    biases: int | tuple[Selector, ...] = 0
    weights: tuple[Weights, ...] = ()
    head: str = "keep"
    loss: str = "softmax"
    margin: float = 1.0
    rounding: str = "stochastic"
    scaling: bool = True
    rate: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Layer:
    """A layer of a model: its node, its place among the layers."""

    node: Node
    index: int
    channels: int
    has_bias: bool


@dataclass(frozen=True)
class Part:
    """What a scheme trains of one layer. ``channels`` None: no weights; () all of them."""

    layer: Layer
    bias: bool
    channels: tuple[int, ...] | None

    @property
    def weights(self) -> bool:
        return self.channels is not None


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """The layers of a graph, as they run."""
    found: list[Layer] = []
    for node in graph.nodes:
        if isinstance(node.op, Conv2D | FullyConnected):
            group_in = ohwi(graph.type(node.inputs[1]))[3]
            has_bias = len(node.inputs) > 2 and bool(node.inputs[2])
            found.append(Layer(node, len(found), group_in, has_bias))
    return tuple(found)


def selected(layers: Sequence[Layer], selector: Selector) -> tuple[Layer, ...]:
    """The layers that a selector means; raises ``InvalidScheme`` where there are none."""
    if isinstance(selector, int):
        if not -len(layers) <= selector < len(layers):
            raise InvalidScheme(f"there is no layer {selector}, the model has {len(layers)}")
        return (layers[selector],)
    found = tuple(layer for layer in layers if fnmatchcase(layer.node.name, selector))
    if not found:
        names = ", ".join(layer.node.name for layer in layers[-6:])
        raise InvalidScheme(f"no layer is named '{selector}'", hint=f"the last layers are {names}")
    return found


def parts_of(graph: Graph, scheme: Scheme) -> tuple[Part, ...]:
    """What a scheme trains of a model, layer by layer. Raises ``InvalidScheme``."""
    layers = layers_of(graph)
    biases: set[int] = set()
    if isinstance(scheme.biases, int):
        if scheme.biases > len(layers):
            raise InvalidScheme(
                f"the biases of the last {scheme.biases} layers, the model has {len(layers)}"
            )
        last = layers[len(layers) - scheme.biases :]
        biases = {layer.index for layer in last if layer.has_bias}
    else:
        for selector in scheme.biases:
            found = selected(layers, selector)
            with_bias = {layer.index for layer in found if layer.has_bias}
            if not with_bias:
                raise InvalidScheme(f"layer '{found[0].node.name}' has no bias to train")
            biases |= with_bias
    weights: dict[int, tuple[int, ...]] = {}
    for entry in scheme.weights:
        for layer in selected(layers, entry.layer):
            if layer.index in weights:
                raise InvalidScheme(f"the weights of layer '{layer.node.name}' are asked for twice")
            weights[layer.index] = _channels(entry, layer)
    parts = tuple(
        Part(layer, layer.index in biases, weights.get(layer.index))
        for layer in layers
        if layer.index in biases or layer.index in weights
    )
    if not parts:
        raise InvalidScheme("the scheme trains nothing")
    return parts


def _channels(entry: Weights, layer: Layer) -> tuple[int, ...]:
    """The input channels of each group that are trained; () for all."""
    count, name = layer.channels, layer.node.name
    if entry.chosen is not None:
        chosen = tuple(sorted(set(entry.chosen)))
        if chosen[-1] >= count:
            raise InvalidScheme(f"channel {chosen[-1]} of layer '{name}', which has {count}")
    elif entry.channels is not None:
        first, last = entry.channels
        if last > count:
            raise InvalidScheme(f"channels {first} to {last} of layer '{name}', which has {count}")
        chosen = tuple(range(first, last))
    else:
        share = 1.0 if entry.share is None else entry.share
        # at least one channel, so that a small share of a depthwise layer is its only one
        chosen = tuple(range(max(1, math.floor(share * count + 0.5))))
    return () if len(chosen) == count else chosen


def read_scheme(source: str | Path) -> Scheme:
    """A scheme from a file, or a shipped one by its name. Raises ``InvalidScheme``."""
    path = Path(source)
    if isinstance(source, str) and source in shipped_schemes():
        path = SHIPPED / f"{source}.json"
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InvalidScheme(f"a scheme of {path.stat().st_size:,} bytes", at=str(path))
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidScheme(
            f"can't be read: {error.strerror}", at=str(path),
            hint=f"schemes that come with tinymill: {', '.join(shipped_schemes())}",
        ) from error  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise InvalidScheme(f"is no JSON: {error}", at=str(path)) from error
    try:
        return scheme_of(content)
    except InvalidScheme as error:
        raise InvalidScheme(error.problem, at=str(path), hint=error.hint) from error


def shipped_schemes() -> tuple[str, ...]:
    """The names of the schemes that come with tinymill."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.json")))


def scheme_of(content: Any) -> Scheme:
    """A scheme from the content of its file. Raises ``InvalidScheme``."""
    fields = _object(content, "the scheme")
    if fields.pop("format", None) != FORMAT:
        raise InvalidScheme(f'is no scheme: "format" must be "{FORMAT}"')
    version = fields.pop("version", None)
    if version != VERSION or isinstance(version, bool):
        raise InvalidScheme(f'"version" {_shown(version)}, this tinymill reads {VERSION}')
    fields.pop("about", None)
    base = Scheme()
    scheme = Scheme(
        biases=_biases(fields.pop("biases", 0)),
        weights=tuple(_weights(entry) for entry in _array(fields.pop("weights", []), "weights")),
        head=_one_of(fields.pop("head", base.head), "head", HEADS),
        loss=_one_of(fields.pop("loss", base.loss), "loss", LOSSES),
        margin=_number(fields.pop("margin", base.margin), "margin", 0, 1e6),
        rounding=_one_of(fields.pop("rounding", base.rounding), "rounding", ROUNDINGS),
        scaling=_boolean(fields.pop("scaling", base.scaling), "scaling"),
        rate=_number(fields.pop("rate", base.rate), "rate", 0, 1e6),
        seed=_integer(fields.pop("seed", base.seed), "seed", 0, (1 << 32) - 1),
    )
    _nothing_left(fields, "the scheme")
    return scheme


def json_of(scheme: Scheme) -> dict[str, Any]:
    """The content of a file of ``scheme``: ``scheme_of`` reads it back."""
    entries: list[dict[str, Any]] = []
    for entry in scheme.weights:
        found: dict[str, Any] = {"layer": entry.layer}
        if entry.chosen is not None:
            found["chosen"] = list(entry.chosen)
        elif entry.channels is not None:
            found["channels"] = list(entry.channels)
        elif entry.share is not None:
            found["share"] = entry.share
        entries.append(found)
    biases = scheme.biases
    return {
        "format": FORMAT, "version": VERSION,
        "biases": {"last": biases} if isinstance(biases, int) else list(biases),
        "weights": entries, "head": scheme.head, "loss": scheme.loss, "margin": scheme.margin,
        "rounding": scheme.rounding, "scaling": scheme.scaling,
        "rate": scheme.rate, "seed": scheme.seed,
    }  # fmt: skip


def _biases(content: Any) -> int | tuple[Selector, ...]:
    if isinstance(content, dict):
        fields = _object(content, "biases")
        last = _integer(fields.pop("last", None), "biases.last", 0, 1 << 20)
        _nothing_left(fields, "biases")
        return last
    if content == 0 and not isinstance(content, bool):
        return 0
    return tuple(_selector(item, "biases") for item in _array(content, "biases"))


def _weights(content: Any) -> Weights:
    fields = _object(content, "an entry of weights")
    layer = _selector(fields.pop("layer", None), "weights.layer")
    ways = [name for name in ("share", "channels", "chosen") if name in fields]
    if len(ways) > 1:
        raise InvalidScheme(f"weights of layer {_shown(layer)}: {' and '.join(ways)}, take one")
    share = fields.pop("share", None)
    if share is not None:
        share = _number(share, "share", 0, 1)
        if share == 0:
            raise InvalidScheme("share 0, must be above 0, at most 1")
    span = fields.pop("channels", None)
    if span is not None:
        ends = [_integer(n, "channels", 0, 1 << 20) for n in _array(span, "channels")]
        if len(ends) != 2 or ends[0] >= ends[1]:
            raise InvalidScheme(f"channels {_shown(span)}, must be [first, behind the last]")
        span = (ends[0], ends[1])
    chosen = fields.pop("chosen", None)
    if chosen is not None:
        chosen = tuple(_integer(n, "chosen", 0, 1 << 20) for n in _array(chosen, "chosen"))
        if not chosen:
            raise InvalidScheme(f"weights of layer {_shown(layer)}: no channel is chosen")
    _nothing_left(fields, "an entry of weights")
    return Weights(layer, share, span, chosen)


def _shown(content: Any) -> str:
    text = json.dumps(content, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _object(content: Any, what: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InvalidScheme(f"{what} is {_shown(content)}, must be an object")
    return dict(content)


def _array(content: Any, what: str) -> list[Any]:
    if not isinstance(content, list):
        raise InvalidScheme(f'"{what}" is {_shown(content)}, must be an array')
    return content


def _selector(content: Any, what: str) -> Selector:
    if isinstance(content, bool) or not isinstance(content, int | str) or content == "":
        raise InvalidScheme(f'"{what}" is {_shown(content)}, must be a position or a name')
    return content


def _integer(content: Any, what: str, least: int, most: int) -> int:
    if isinstance(content, bool) or not isinstance(content, int) or not least <= content <= most:
        raise InvalidScheme(f'"{what}" is {_shown(content)}, must be {least} to {most}')
    return content


def _number(content: Any, what: str, least: float, most: float) -> float:
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise InvalidScheme(f'"{what}" is {_shown(content)}, must be a number')
    if not least <= content <= most:
        raise InvalidScheme(f'"{what}" is {_shown(content)}, must be {least} to {most:g}')
    return float(content)


def _boolean(content: Any, what: str) -> bool:
    if not isinstance(content, bool):
        raise InvalidScheme(f'"{what}" is {_shown(content)}, must be true or false')
    return content


def _one_of(content: Any, what: str, choices: Sequence[str]) -> str:
    if content not in choices:
        raise InvalidScheme(f'"{what}" is {_shown(content)}, not one of {", ".join(choices)}')
    return str(content)


def _nothing_left(fields: dict[str, Any], what: str) -> None:
    if fields:
        raise InvalidScheme(f"{what} has {', '.join(map(_shown, fields))}, which means nothing")
