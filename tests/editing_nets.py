"""Small generators and U-Nets with random weights, as ONNX, for the tests of sparse editing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """Builds an ONNX graph op by op; values are names."""

    def __init__(self, seed: int = 0, opset: int = 18) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.opset = opset
        self.count = 0

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def input(self, name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def const(self, array: np.ndarray) -> str:
        name = self.name("c")
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def random(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> str:
        array = self.rng.standard_normal(shape) * scale + mean
        return self.const(array.astype(np.float32))

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes):
        names = [self.name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, ins: int, outs: int, kernel: int = 3, pad: int | None = None,
             groups: int = 1, **attributes) -> str:  # fmt: skip
        pad = kernel // 2 if pad is None else pad
        scale = (ins // groups * kernel * kernel) ** -0.5
        weights = self.random(outs, ins // groups, kernel, kernel, scale=scale)
        bias = self.random(outs, scale=0.1)
        return self.op("Conv", x, weights, bias, pads=[pad] * 4, group=groups, **attributes)

    def shape(self, *sizes: int) -> str:
        return self.const(np.array(sizes, np.int64))

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def linear(self, x: str, ins: int, outs: int) -> str:
        weights = self.random(outs, ins, scale=ins**-0.5)
        return self.op("Gemm", x, weights, self.random(outs, scale=0.1), transB=1)

    def group_norm(self, x: str, shape: tuple[int, int, int, int], groups: int) -> str:
        """As torch exports it: instance normalisation of reshaped groups."""
        flat = self.op("Reshape", x, self.shape(shape[0], groups, -1))
        ones, zeros = (self.const(np.full(groups, n, np.float32)) for n in (1.0, 0.0))
        normed = self.op("InstanceNormalization", flat, ones, zeros, epsilon=1e-5)
        back = self.op("Reshape", normed, self.shape(*shape))
        scale = self.random(shape[1], 1, 1, scale=0.2, mean=1.0)
        return self.op("Add", self.op("Mul", back, scale), self.random(shape[1], 1, 1, scale=0.2))

    def upsample(self, x: str, factor: float = 2.0, mode: str = "nearest") -> str:
        scales = self.const(np.array([1, 1, factor, factor], np.float32))
        transform = "asymmetric" if mode == "nearest" else "half_pixel"
        extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
        return self.op("Resize", x, "", scales, mode=mode,
                       coordinate_transformation_mode=transform, **extra)  # fmt: skip

    def attention(self, h: str, context: str, shape: tuple[int, int, int, int], heads: int,
                  keys: int, width: int) -> str:  # fmt: skip
        """Queries of a map [N, C, H, W] on rows [N, keys, width], several heads."""
        n, c, height, rows = shape
        d = c // heads
        q = self.op("Reshape", self.conv(h, c, c, 1), self.shape(n, heads, d, height * rows))
        q = self.op("Transpose", q, perm=[0, 1, 3, 2])
        k, v = (
            self.op("MatMul", context, self.random(width, c, scale=width**-0.5)) for _ in range(2)
        )
        k = self.op("Reshape", k, self.shape(n, keys, heads, d))
        k = self.op("Transpose", k, perm=[0, 2, 3, 1])
        v = self.op("Reshape", v, self.shape(n, keys, heads, d))
        v = self.op("Transpose", v, perm=[0, 2, 1, 3])
        scores = self.op("Div", self.op("MatMul", q, k), self.const(np.float32(d**0.5)))
        y = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
        y = self.op("Transpose", y, perm=[0, 1, 3, 2])
        return self.conv(self.op("Reshape", y, self.shape(*shape)), c, c, 1)

    def self_attention(self, h: str, shape: tuple[int, int, int, int]) -> str:
        """One head, as the DDPM's AttnBlock writes it: products of [N, C, HW]."""
        n, c, height, width = shape
        q, k, v = (
            self.op("Reshape", self.conv(h, c, c, 1), self.shape(n, c, height * width))
            for _ in range(3)
        )
        scores = self.op("MatMul", self.op("Transpose", q, perm=[0, 2, 1]), k)
        scores = self.op("Mul", scores, self.const(np.float32(c**-0.5)))
        weights = self.op("Transpose", self.op("Softmax", scores, axis=2), perm=[0, 2, 1])
        y = self.op("Reshape", self.op("MatMul", v, weights), self.shape(*shape))
        return self.conv(y, c, c, 1)

    def save(self, path: Path, *outputs: str) -> Path:
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, path.stem, self.inputs, ends, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return path


def unet(path: Path, *, batch: int = 1, size: int = 16, width: int = 8) -> Path:
    """A DDPM-like U-Net: time embedding, group norms, SiLU, both kinds of attention, skips."""
    net = Net()
    x = net.input("x", (batch, 3, size, size))
    t = net.input("t", (batch,), TensorProto.INT64)
    context = net.input("context", (batch, 5, 12))
    c = width

    steps = net.op("Unsqueeze", net.op("Cast", t, to=TensorProto.FLOAT), net.shape(1))
    angles = net.op("Mul", steps, net.const(np.geomspace(1, 0.01, c // 2, dtype=np.float32)[None]))
    time = net.op("Concat", net.op("Sin", angles), net.op("Cos", angles), axis=1)
    time = net.linear(net.silu(net.linear(time, c, 2 * c)), 2 * c, 2 * c)

    def block(h: str, ins: int, outs: int, side: int) -> str:
        y = net.silu(net.group_norm(h, (batch, ins, side, side), 4))
        y = net.conv(y, ins, outs)
        vector = net.op("Unsqueeze", net.linear(net.silu(time), 2 * c, outs), net.shape(2, 3))
        y = net.op("Add", y, vector)
        y = net.conv(net.silu(net.group_norm(y, (batch, outs, side, side), 4)), outs, outs)
        return net.op("Add", h if ins == outs else net.conv(h, ins, outs, 1), y)

    half = size // 2
    first = net.conv(x, 3, c)
    a = block(first, c, c, size)
    h = net.op("Pad", a, net.const(np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64)))
    h = net.conv(h, c, c, 3, 0, strides=[2, 2])
    h = block(h, c, 2 * c, half)
    shape = (batch, 2 * c, half, half)
    h = net.op("Add", h, net.self_attention(net.group_norm(h, shape, 4), shape))
    h = net.op("Add", h, net.attention(net.group_norm(h, shape, 2), context, shape, 2, 5, 12))
    h = net.conv(net.upsample(h), 2 * c, c)
    h = block(net.op("Concat", h, a, axis=1), 2 * c, c, size)
    h = block(net.op("Concat", h, first, axis=1), 2 * c, c, size)
    return net.save(path, net.conv(net.silu(net.group_norm(h, (batch, c, size, size), 4)), c, 3))


def spade(path: Path, *, batch: int = 1, height: int = 16, width: int = 24) -> Path:
    """A generator like GauGAN's: a segmentation map modulates at every resolution."""
    net = Net(1)
    labels, c = 4, 8
    seg = net.input("seg", (batch, labels, height, width))

    def scaled(factor: int) -> str:
        if factor == 1:
            return seg
        scales = net.const(np.array([1, 1, 1 / factor, 1 / factor], np.float32))
        return net.op("Resize", seg, "", scales, mode="nearest", nearest_mode="floor",
                      coordinate_transformation_mode="asymmetric")  # fmt: skip

    def spaded(x: str, channels: int, factor: int) -> str:
        ones, zeros = (net.const(np.full(channels, n, np.float32)) for n in (1.0, 0.0))
        normed = net.op("InstanceNormalization", x, ones, zeros, epsilon=1e-5)
        shared = net.op("Relu", net.conv(scaled(factor), labels, 6))
        gamma, beta = net.conv(shared, 6, channels), net.conv(shared, 6, channels)
        return net.op(
            "Add", net.op("Mul", normed, net.op("Add", gamma, net.const(np.float32(1.0)))), beta
        )

    def block(x: str, ins: int, outs: int, factor: int) -> str:
        def leaky(v: str) -> str:
            return net.op("LeakyRelu", v, alpha=0.2)

        short = x if ins == outs else net.conv(spaded(x, ins, factor), ins, outs, 1)
        y = net.conv(leaky(spaded(x, ins, factor)), ins, outs)
        y = net.conv(leaky(spaded(y, outs, factor)), outs, outs)
        return net.op("Add", short, y)

    h = net.conv(scaled(4), labels, 2 * c)
    h = net.upsample(block(h, 2 * c, 2 * c, 4))
    h = net.upsample(block(h, 2 * c, c, 2))
    h = block(h, c, c, 1)
    return net.save(path, net.op("Tanh", net.conv(net.op("LeakyRelu", h, alpha=0.2), c, 3)))


def mixed(path: Path) -> Path:
    """Everything else: transposed and strided convolutions of odd sizes, dilation, groups, pools,
    bilinear and odd nearest resizes, reflection, splits, elementwise ops, depth to space."""
    net = Net(2)
    x = net.input("x", (2, 4, 15, 13))
    h = net.op("Pad", x, net.const(np.array([0, 0, 2, 1, 0, 0, 2, 1], np.int64)), mode="reflect")
    h = net.op("Relu", net.conv(h, 4, 8, 5, 2, groups=2, strides=[2, 1]))  # 10 x 15
    h = net.op("LeakyRelu", net.conv(h, 8, 8, 3, 2, dilations=[2, 2]), alpha=0.1)
    a, b = net.op("Split", h, axis=1, outputs=2, num_outputs=2)
    h = net.op("Concat", net.op("Mul", a, net.op("Sigmoid", b)), b, h, axis=1)  # 16 channels
    weights = net.random(16, 6, 3, 4, scale=0.1)
    h = net.op("ConvTranspose", h, weights, net.random(6, scale=0.1), strides=[2, 3],
               pads=[1, 0, 0, 1], output_padding=[0, 1])  # fmt: skip
    h = net.op("Elu", h, alpha=0.7)
    pooled = net.op("MaxPool", h, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    mean = net.op("AveragePool", h, kernel_shape=[2, 2], strides=[2, 2], auto_pad=b"SAME_UPPER")
    h = net.op("Sub", pooled, mean)
    h = net.op("Add", net.upsample(h, 1.5, "linear"), net.upsample(h, 1.5))
    weights = net.random(24, 6, 1, 1, scale=0.4)
    h = net.op("Conv", h, weights)
    h = net.op("DepthToSpace", h, blocksize=2, mode="CRD")
    h = net.op("Clip", h, net.const(np.float32(-1.5)), net.const(np.float32(1.5)))
    return net.save(path, net.conv(h, 6, 2, 3, 1))
