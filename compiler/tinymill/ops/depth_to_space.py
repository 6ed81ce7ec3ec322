"""DepthToSpace, SpaceToDepth over NHWC maps; SpaceToBatch and BatchToSpace as moves of axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..errors import InvalidModel
from ..ir import DType, Example, KernelCall, Op, TensorType, Types
from .pad import Pad
from .registry import from_onnx, from_tflite
from .reshape import Reshape
from .slice import Slice
from .transpose import Transpose


@dataclass(frozen=True)
class DepthToSpace(Op):
    """Channels become blocks of pixels; ``inverse``: blocks become channels.

    ``order`` says how a channel splits: "DCR" (row in block, column in block, channel) as in
    TFLite, "CRD" (channel, row, column).
    """

    block: int
    order: str = "DCR"
    inverse: bool = False
    movement = True

    @property
    def name(self) -> str:
        return "SpaceToDepth" if self.inverse else "DepthToSpace"

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if x.rank != 4 or self.block < 1 or self.block > 1 << 12:
            raise InvalidModel(f"blocks of {self.block} in {x}")
        n, height, width, channels = x.shape
        b = self.block
        if self.inverse:
            if height % b or width % b:
                raise InvalidModel(f"blocks of {b} in {x}")
            return (TensorType((n, height // b, width // b, channels * b * b), x.dtype),)
        if channels % (b * b):
            raise InvalidModel(f"blocks of {b} from {channels} channels")
        return (TensorType((n, height * b, width * b, channels // (b * b)), x.dtype),)

    def _view(self, types: Types) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The input's shape split into six axes, and their order in the output."""
        n, height, width, channels = types.input(0).shape
        b = self.block
        if self.inverse:
            split = (n, height // b, b, width // b, b, channels)
            return split, (0, 1, 3, 2, 4, 5) if self.order == "DCR" else (0, 1, 3, 5, 2, 4)
        depth = channels // (b * b)
        if self.order == "DCR":
            return (n, height, width, b, b, depth), (0, 1, 3, 2, 4, 5)
        return (n, height, width, depth, b, b), (0, 1, 4, 2, 5, 3)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        shape, order = self._view(types)
        moved = x.reshape(shape).transpose(order)
        return (np.ascontiguousarray(moved).reshape(types.output.shape),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall | None:
        shape, order = self._view(types)
        x = types.input(0).with_shape(shape)
        move = Transpose(order)
        return move.kernel(inputs, outputs, Types((x,), move.infer((x,))), constants)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.INT8, DType.FLOAT32):
            for op, shape in (
                (cls(2), (1, 3, 2, 12)),
                (cls(3, "CRD"), (1, 2, 2, 18)),
                (cls(2, inverse=True), (2, 4, 6, 3)),
                (cls(2, "CRD", inverse=True), (1, 4, 2, 3)),
            ):
                x = TensorType(shape, dtype)
                yield Example(op, Types((x,), op.infer((x,))))


@from_tflite("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _from_tflite(node: Any) -> None:
    inverse = node.kind == "SPACE_TO_DEPTH"
    options = node.options("SpaceToDepthOptions" if inverse else "DepthToSpaceOptions")
    node.add(DepthToSpace(options.BlockSize(), inverse=inverse), node.inputs[:1])


@from_onnx("DepthToSpace", "SpaceToDepth")
def _from_onnx(node: Any) -> None:
    block = node.attribute("blocksize", 0)
    order = node.attribute("mode", b"DCR").decode()
    if order not in ("DCR", "CRD"):
        raise node.invalid(f"mode {order}")
    op = DepthToSpace(block, order, node.kind == "SpaceToDepth")
    node.add_nhwc(op, [node.nhwc(0)])


@from_tflite("SPACE_TO_BATCH_ND")
def _space_to_batch(node: Any) -> None:
    x = node.type(0)
    blocks = [int(n) for n in node.constant(1).ravel()]
    pads = node.constant(2).reshape(-1, 2).tolist()
    spatial = len(blocks)
    if not len(pads) == spatial < x.rank or min(blocks, default=1) < 1:
        raise node.invalid(f"blocks {blocks}, paddings {pads} for {x}")
    rest = (0,) * (x.rank - 1 - spatial)
    before = (0, *(int(a) for a, _ in pads), *rest)
    after = (0, *(int(b) for _, b in pads), *rest)
    # TFLite fills with the zero point
    fill = 0.0 if x.quant is None else float(x.zero_point)
    value = node.emit(Pad(before, after, fill), node.inputs[:1], x.quant)
    batch, *sizes = node.type_of(value).shape
    inner = sizes[spatial:]
    sizes = sizes[:spatial]
    if any(n % b for n, b in zip(sizes, blocks, strict=True)):
        raise node.invalid(f"blocks {blocks} in {sizes}")
    split = [part for n, b in zip(sizes, blocks, strict=True) for part in (n // b, b)]
    value = node.emit(Reshape((batch, *split, prod(inner))), [value], x.quant)
    order = (
        *(2 + 2 * i for i in range(spatial)), 0, *(1 + 2 * i for i in range(spatial)),
        1 + 2 * spatial,
    )  # fmt: skip
    value = node.emit(Transpose(order), [value], x.quant)
    shape = (batch * prod(blocks), *(n // b for n, b in zip(sizes, blocks, strict=True)), *inner)
    node.add(Reshape(shape), [value])


@from_tflite("BATCH_TO_SPACE_ND")
def _batch_to_space(node: Any) -> None:
    x = node.type(0)
    blocks = [int(n) for n in node.constant(1).ravel()]
    crops = node.constant(2).reshape(-1, 2).tolist()
    spatial = len(blocks)
    if not len(crops) == spatial < x.rank or min(blocks, default=1) < 1:
        raise node.invalid(f"blocks {blocks}, crops {crops} for {x}")
    if x.shape[0] % prod(blocks):
        raise node.invalid(f"blocks {blocks} from a batch of {x.shape[0]}")
    batch = x.shape[0] // prod(blocks)
    sizes, inner = x.shape[1 : 1 + spatial], x.shape[1 + spatial :]
    value = node.emit(Reshape((*blocks, batch, *sizes, prod(inner))), node.inputs[:1], x.quant)
    order = (
        spatial, *(axis for i in range(spatial) for axis in (spatial + 1 + i, i)),
        2 * spatial + 1,
    )  # fmt: skip
    value = node.emit(Transpose(order), [value], x.quant)
    whole = tuple(n * b for n, b in zip(sizes, blocks, strict=True))
    value = node.emit(Reshape((batch, *whole, *inner)), [value], x.quant)
    begin = (0, *(int(a) for a, _ in crops), *([0] * len(inner)))
    kept = tuple(n - int(a) - int(b) for n, (a, b) in zip(whole, crops, strict=True))
    step = (1,) * x.rank
    node.add(Slice(begin, (batch, *kept, *inner), step), [value])
