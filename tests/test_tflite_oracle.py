"""Random TFLite models of one operator: our numbers are those of TFLite Micro, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

from contract import run_on_host

pytest.importorskip("tflite_micro")

from tflite_micro.python.tflite_micro import runtime

from tflite_builder import TfliteBuilder
from tinymill.frontends.tflite import read_tflite
from tinymill.ir import DType, Graph, interpret, verify

RUNS = 3


class Case:
    """One model and the inputs of its runs."""

    def __init__(self, name: str, content: bytes, *, seed: int = 0, spread: float = 4.0) -> None:
        self.name = name
        self.content = content
        self.seed = seed
        self.spread = spread

    def __repr__(self) -> str:
        return self.name

    def inputs(self, graph: Graph) -> list[dict[str, np.ndarray]]:
        rng = np.random.default_rng(self.seed)
        runs = []
        for _ in range(RUNS):
            values = {}
            for port in graph.inputs:
                kind = graph.type(port.value)
                if kind.dtype is DType.FLOAT32:
                    reals = rng.uniform(-self.spread, self.spread, kind.shape)
                    values[port.value] = reals.astype(np.float32)
                elif kind.dtype is DType.BOOL:
                    values[port.value] = rng.integers(0, 2, kind.shape).astype(bool)
                else:
                    low, high = kind.dtype.limits
                    numbers = rng.integers(low, high, kind.shape, endpoint=True)
                    values[port.value] = numbers.astype(kind.dtype.numpy)
            runs.append(values)
        return runs


def oracle(content: bytes, runs: list[dict[str, np.ndarray]], outputs: int) -> list[list]:
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=1 << 20)
    found = []
    for values in runs:
        for index, array in enumerate(values.values()):
            interpreter.set_input(array, index)
        interpreter.invoke()
        found.append([np.array(interpreter.get_output(i)) for i in range(outputs)])
    return found


def one(kind: str, x: dict, y: dict, *more: np.ndarray, table: str | None = None, **options):
    """A model of one operator with one input, further constant inputs and one output."""
    build = TfliteBuilder()
    source, target = build.tensor(**x), build.tensor(**y)
    constants = [
        build.tensor(np.shape(array), str(np.asarray(array).dtype), array=np.asarray(array))
        for array in more
    ]
    build.operator(kind, [source, *constants], [target], table, **options)
    return build.build([source], [target])


def i32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def int8(shape, scale=0.05, zero=3) -> dict:
    return {"shape": shape, "dtype": "int8", "scale": scale, "zero": zero}


def real(shape) -> dict:
    return {"shape": shape, "dtype": "float32"}


def activations():
    every = (1, 256)
    scales = [(0.013, -20), (0.05, 3), (0.0471, -128), (0.3, 90)]
    for scale, zero in scales:
        x = int8(every, scale, zero)
        tag = f"{scale}-{zero}"
        yield Case(f"LOGISTIC-{tag}", one("LOGISTIC", x, int8(every, 1 / 256, -128)))
        yield Case(f"TANH-{tag}", one("TANH", x, int8(every, 1 / 128, 0)))
        yield Case(f"RELU-{tag}", one("RELU", x, int8(every, 0.031, -60)))
        yield Case(f"ELU-{tag}", one("ELU", x, int8(every, 0.041, -80)))
        yield Case(f"ABS-{tag}", one("ABS", x, int8(every, 0.07, -100)))
        yield Case(f"ABS-same-{tag}", one("ABS", x, int8(every, scale, -100)))
        hard = int8(every, max(scale, 0.031), -60)
        yield Case(f"HARD_SWISH-{tag}", one("HARD_SWISH", x, hard))
        for alpha in (0.1, 1.5):
            leaky = int8(every, 0.033, -9)
            content = one("LEAKY_RELU", x, leaky, table="LeakyReluOptions", alpha=alpha)
            yield Case(f"LEAKY_RELU-{alpha}-{tag}", content)
    x = int8(every, 0.0471, -100)
    yield Case("RELU6", one("RELU6", x, x))
    for kind in ("LOGISTIC", "TANH", "RELU", "RELU6", "ELU", "ABS", "EXP", "NEG", "SIN", "COS"):
        table = {"EXP": "ExpOptions", "NEG": "NegOptions", "ABS": "AbsOptions"}.get(kind)
        content = one(kind, real((3, 50)), real((3, 50)), table=table)
        yield Case(f"{kind}-float", content)
    content = one("LEAKY_RELU", real((3, 50)), real((3, 50)), table="LeakyReluOptions", alpha=0.2)
    yield Case("LEAKY_RELU-float", content)
    yield Case("HARD_SWISH-float", one("HARD_SWISH", real((3, 50)), real((3, 50))))


def reductions():
    for shape, axes in (((1, 7, 5, 6), (1, 2)), ((1, 7, 5, 6), (3,)), ((2, 3, 9), (1,))):
        for keep in (False, True):
            out = [1 if a in axes else n for a, n in enumerate(shape)]
            if not keep:
                out = [n for a, n in enumerate(shape) if a not in axes]
            how = {"table": "ReducerOptions", "keepDims": keep}
            tag = f"{shape}-{axes}-{keep}"
            same = int8(out, 0.05, 3)
            other = int8(out, 0.037, -11)
            x = int8(shape)
            yield Case(f"MEAN-same-{tag}", one("MEAN", x, same, i32(*axes), **how))
            yield Case(f"MEAN-{tag}", one("MEAN", x, other, i32(*axes), **how))
            wide = int8(out, 0.37, -11)
            yield Case(f"SUM-{tag}", one("SUM", x, wide, i32(*axes), **how))
            yield Case(f"REDUCE_MAX-{tag}", one("REDUCE_MAX", x, same, i32(*axes), **how))
            for kind in ("MEAN", "SUM", "REDUCE_MAX"):
                content = one(kind, real(shape), real(out), i32(*axes), **how)
                yield Case(f"{kind}-float-{tag}", content)
    for kind, table in (("ARG_MAX", "ArgMaxOptions"), ("ARG_MIN", "ArgMinOptions")):
        for x in (int8((2, 9, 4)), real((2, 9, 4))):
            y = {"shape": (2, 4), "dtype": "int32"}
            content = one(kind, x, y, np.array(1, np.int32), table=table, outputType=2)
            yield Case(f"{kind}-{x['dtype']}", content)


def moves():
    x = int8((1, 6, 5, 4))
    for begin, end, step, masks, out in (
        ((0, 1, 0, 0), (1, 5, 5, 4), (1, 2, 1, 1), {}, (1, 2, 5, 4)),
        ((0, -1, 4, 0), (1, -7, 0, 4), (1, -1, -2, 1), {}, (1, 6, 2, 4)),
        ((0, 2, 1, 1), (0, 0, 3, 2), (1, 1, 1, 1), {"beginMask": 3, "endMask": 3}, (1, 6, 2, 1)),
        ((0, -2, 0, 0), (1, 9, 5, 4), (1, 1, 1, 1), {"shrinkAxisMask": 2}, (1, 5, 4)),
    ):
        for kind in (x, real(x["shape"])):
            y = {**kind, "shape": out}
            content = one(
                "STRIDED_SLICE", kind, y, i32(*begin), i32(*end), i32(*step),
                table="StridedSliceOptions", **masks,
            )  # fmt: skip
            yield Case(f"STRIDED_SLICE-{begin}-{step}-{kind['dtype']}", content)
    for kind in (x, real(x["shape"])):
        y = {**kind, "shape": (1, 3, 2, 4)}
        content = one("SLICE", kind, y, i32(0, 2, 1, 0), i32(1, 3, 2, -1), table="SliceOptions")
        yield Case(f"SLICE-{kind['dtype']}", content)
        for axis in (1, 3):
            out = list(kind["shape"])
            out[axis] = 3
            content = one(
                "GATHER", kind, {**kind, "shape": out}, i32(2, 0, 3), table="GatherOptions",
                axis=axis,
            )  # fmt: skip
            yield Case(f"GATHER-{axis}-{kind['dtype']}", content)
        wide = {**kind, "shape": (1, 4, 6, 8)}
        content = one(
            "DEPTH_TO_SPACE", wide, {**kind, "shape": (1, 8, 12, 2)},
            table="DepthToSpaceOptions", blockSize=2,
        )  # fmt: skip
        yield Case(f"DEPTH_TO_SPACE-{kind['dtype']}", content)
        content = one(
            "SPACE_TO_DEPTH", wide, {**kind, "shape": (1, 2, 3, 32)},
            table="SpaceToDepthOptions", blockSize=2,
        )  # fmt: skip
        yield Case(f"SPACE_TO_DEPTH-{kind['dtype']}", content)
        pads = np.array([[1, 1], [0, 2]], np.int32)
        # TFLite Micro pads int8 with memory it never set (its output_offset): no padding there
        padded = kind["dtype"] == "float32"
        content = one(
            "SPACE_TO_BATCH_ND", {**kind, "shape": (1, 4, 6, 3)},
            {**kind, "shape": (4, 3, 4, 3) if padded else (4, 2, 3, 3)},
            i32(2, 2), pads * padded, table="SpaceToBatchNDOptions",
        )  # fmt: skip
        yield Case(f"SPACE_TO_BATCH_ND-{kind['dtype']}", content)
        content = one(
            "BATCH_TO_SPACE_ND", {**kind, "shape": (4, 3, 4, 3)}, {**kind, "shape": (1, 4, 6, 3)},
            i32(2, 2), pads, table="BatchToSpaceNDOptions",
        )  # fmt: skip
        yield Case(f"BATCH_TO_SPACE_ND-{kind['dtype']}", content)
    for kind in (int8((2, 3, 4)), real((2, 3, 4))):
        for count, axis in ((2, 1), (3, 2), (17, 0)):
            build = TfliteBuilder()
            shapes = []
            for i in range(count):
                shape = list(kind["shape"])
                shape[axis] = 1 + i % 3
                shapes.append(shape)
            parts = [build.tensor(**{**kind, "shape": shape}) for shape in shapes]
            out = list(kind["shape"])
            out[axis] = sum(shape[axis] for shape in shapes)
            # TFLite Micro takes 10 inputs at most
            if count <= 10:
                whole = build.tensor(**{**kind, "shape": out})
                build.operator(
                    "CONCATENATION", parts, [whole], "ConcatenationOptions", axis=axis - 3
                )
                name = f"CONCATENATION-{count}-{axis}-{kind['dtype']}"
                yield Case(name, build.build(parts, [whole]))
        build = TfliteBuilder()
        parts = [build.tensor(**kind) for _ in range(3)]
        whole = build.tensor(**{**kind, "shape": (2, 3, 3, 4)})
        build.operator("PACK", parts, [whole], "PackOptions", axis=1, valuesCount=3)
        yield Case(f"PACK-{kind['dtype']}", build.build(parts, [whole]))
        build = TfliteBuilder()
        source = build.tensor(**kind)
        parts = [build.tensor(**{**kind, "shape": (2, 4)}) for _ in range(3)]
        build.operator("UNPACK", [source], parts, "UnpackOptions", axis=1, num=3)
        yield Case(f"UNPACK-{kind['dtype']}", build.build([source], parts))
        build = TfliteBuilder()
        source, axis = build.tensor(**kind), build.integers([2], ())
        parts = [build.tensor(**{**kind, "shape": (2, 3, 2)}) for _ in range(2)]
        build.operator("SPLIT", [axis, source], parts, "SplitOptions", numSplits=2)
        yield Case(f"SPLIT-{kind['dtype']}", build.build([source], parts))
        build = TfliteBuilder()
        source, sizes = build.tensor(**kind), build.integers([1, 2])
        axis = build.integers([1], ())
        parts = [build.tensor(**{**kind, "shape": (2, n, 4)}) for n in (1, 2)]
        build.operator("SPLIT_V", [source, sizes, axis], parts, "SplitVOptions", numSplits=2)
        yield Case(f"SPLIT_V-{kind['dtype']}", build.build([source], parts))


def resizes():
    for align, half in ((False, False), (True, False), (False, True)):
        for out in ((9, 4), (3, 11), (1, 2)):
            for kind in (int8((1, 5, 7, 3)), real((1, 5, 7, 3))):
                y = {**kind, "shape": (1, *out, 3)}
                how = {"alignCorners": align, "halfPixelCenters": half}
                tag = f"{align}-{half}-{out}-{kind['dtype']}"
                content = one(
                    "RESIZE_NEAREST_NEIGHBOR", kind, y, i32(*out),
                    table="ResizeNearestNeighborOptions", **how,
                )  # fmt: skip
                yield Case(f"RESIZE_NEAREST_NEIGHBOR-{tag}", content)
                content = one(
                    "RESIZE_BILINEAR", kind, y, i32(*out), table="ResizeBilinearOptions", **how
                )
                yield Case(f"RESIZE_BILINEAR-{tag}", content)


def transposed_convolutions():
    rng = np.random.default_rng(1)
    for shape, kernel, stride, padding in (
        ((1, 4, 5, 3), (3, 3), (2, 2), 0), ((1, 4, 5, 3), (2, 4), (2, 3), 1),
        ((1, 5, 4, 6), (3, 3), (1, 1), 0), ((1, 3, 3, 2), (1, 1), (2, 2), 0),
    ):  # fmt: skip
        outs = 4
        size = [
            n * s if padding == 0 else (n - 1) * s + k
            for n, s, k in zip(shape[1:3], stride, kernel, strict=True)
        ]
        for dtype in ("int8", "float32"):
            integer = dtype == "int8"
            build = TfliteBuilder()
            out = (1, *size, outs)
            target = build.integers(out)
            filters = (outs, *kernel, shape[3])
            scales = rng.uniform(0.001, 0.01, outs).astype(np.float32)
            if integer:
                numbers = rng.integers(-127, 128, filters)
                weights = build.tensor(filters, "int8", scales, array=numbers)
                x = build.tensor(shape, "int8", 0.03, -9)
                bias = build.tensor(
                    (outs,), "int32", scales * np.float32(0.03),
                    array=rng.integers(-500, 500, outs),
                )  # fmt: skip
                y = build.tensor(out, "int8", 0.05, 7)
            else:
                weights = build.tensor(filters, dtype, array=rng.standard_normal(filters))
                x, y = build.tensor(shape, dtype), build.tensor(out, dtype)
                bias = build.tensor((outs,), dtype, array=rng.standard_normal(outs))
            build.operator(
                "TRANSPOSE_CONV", [target, weights, x, bias], [y], "TransposeConvOptions",
                padding=padding, strideH=stride[0], strideW=stride[1],
            )  # fmt: skip
            yield Case(f"TRANSPOSE_CONV-{shape}-{kernel}-{stride}-{dtype}", build.build([x], [y]))


CASES = [
    *activations(), *reductions(), *moves(), *resizes(), *transposed_convolutions()
]  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """All cases, read, with their inputs and the outputs of the emitted C, in one program."""
    graphs = [read_tflite(case.content, f"case{i}") for i, case in enumerate(CASES)]
    runs = [case.inputs(graph) for case, graph in zip(CASES, graphs, strict=True)]
    outputs = run_on_host(graphs, runs, tmp_path_factory.mktemp("oracle"))
    return {case.name: each for case, *each in zip(CASES, graphs, runs, outputs, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_equals_tflite_micro(case: Case, built):
    graph, runs, outputs = built[case.name]
    verify(graph)
    want = oracle(case.content, runs, len(graph.outputs))
    state: dict[str, np.ndarray] = {}
    for values, found, truth in zip(runs, outputs, want, strict=True):
        ours = interpret(graph, values, state)
        for port, got, right in zip(graph.outputs, found, truth, strict=True):
            same(ours[port.value], right.reshape(got.shape))
            same(got, right.reshape(got.shape))


def same(got: np.ndarray, want: np.ndarray) -> None:
    if want.dtype == np.float32:
        # sums that cancel keep the error of their terms
        bound = 1e-6 * max(1.0, float(np.abs(want).max(initial=0.0)))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=bound)
    else:
        np.testing.assert_array_equal(got, want)
