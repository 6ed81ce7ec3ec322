"""ONNX ops against ONNX Runtime, and against the test cases that ONNX itself ships."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinymill.ops  # noqa: F401  registers all ops
from contract import run_on_host
from tinymill.errors import InvalidModel, UnsupportedOp
from tinymill.frontends.onnx import read_onnx
from tinymill.ir import Graph, interpret, verify
from tinymill.passes.pipeline import pipeline, run_passes

OPSETS = (11, 13, 18, 23)
TOLERANCE = 1e-5
NODE_CASES_PASSED = 715
MICROSOFT = "com.microsoft"

Attributes = dict[str, object]


@dataclass
class Case:
    """One node: ``inputs`` are given at run time, ``constants`` are in the file, by position."""

    op: str
    inputs: dict[int, np.ndarray]
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    attributes: Attributes = field(default_factory=dict)
    outputs: int = 1
    domain: str = ""
    since: int = 11
    until: int = 99

    def exists(self, opset: int) -> bool:
        if not self.since <= opset <= self.until:
            return False
        if self.domain:
            return opset == OPSETS[-1]
        try:
            onnx.defs.get_schema(self.op, opset)
        except onnx.defs.SchemaError:
            return False
        return True

    def model(self, opset: int) -> onnx.ModelProto:
        count = max((*self.inputs, *self.constants)) + 1
        names = [f"x{i}" if i in self.inputs or i in self.constants else "" for i in range(count)]
        made = [f"y{i}" for i in range(self.outputs)]
        node = helper.make_node(self.op, names, made, "node", domain=self.domain, **self.attributes)
        kind = helper.np_dtype_to_tensor_dtype
        graph = helper.make_graph(
            [node],
            "case",
            [
                helper.make_tensor_value_info(f"x{i}", kind(array.dtype), array.shape)
                for i, array in self.inputs.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in made],
            [numpy_helper.from_array(array, f"x{i}") for i, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", opset)]
        if self.domain:
            opsets.append(helper.make_opsetid(self.domain, 1))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return model if self.domain else onnx.shape_inference.infer_shapes(model)


def rand(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(abs(hash(shape)) % 1000)
    return rng.uniform(low, high, shape).astype(np.float32)


def ints(*shape: int, low: int = -128, high: int = 128, dtype: type = np.int8) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(low, high, shape).astype(dtype)


def scalar(x: float, dtype: type = np.float32) -> np.ndarray:
    return np.array(x, dtype)


def vector(*x: int) -> np.ndarray:
    return np.array(x, np.int64)


def unary() -> Iterator[Case]:
    x = rand(2, 3, 4, 5, low=-4, high=4)
    unit = rand(2, 3, 4, low=-0.95, high=0.95)
    above = rand(2, 3, 4, low=0.1, high=4)
    for op in (
        "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Mish", "Exp", "Abs",
        "Neg", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Asinh",
        "Erf", "HardSigmoid", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Shrink",
        "Gelu", "Identity",
    ):  # fmt: skip
        yield Case(op, {0: x})
    for op in ("Asin", "Acos", "Atanh", "Tan"):
        yield Case(op, {0: unit})
    for op in ("Log", "Sqrt", "Reciprocal"):
        yield Case(op, {0: above})
    yield Case("Acosh", {0: above + 1})
    yield Case("Gelu", {0: x}, attributes={"approximate": "tanh"})
    yield Case("Gelu", {0: x}, domain=MICROSOFT)
    yield Case("QuickGelu", {0: x}, domain=MICROSOFT)
    yield Case("FastGelu", {0: x}, {1: rand(5)}, domain=MICROSOFT)
    yield Case("LeakyRelu", {0: x}, attributes={"alpha": 0.3})
    yield Case("HardSigmoid", {0: x}, attributes={"alpha": 0.25, "beta": 0.4})
    yield Case("Elu", {0: x}, attributes={"alpha": 0.7})
    yield Case("Round", {0: np.arange(-3, 3, 0.5, np.float32)})
    yield Case("Not", {0: x > 0})
    yield Case("Clip", {0: x}, {1: scalar(-1), 2: scalar(0.5)})
    yield Case("Clip", {0: x}, {2: scalar(0.5)})
    yield Case("Clip", {0: x, 1: scalar(-1)})
    yield Case("Clip", {0: ints(3, 7)}, {1: scalar(-9, np.int8), 2: scalar(70, np.int8)}, since=12)
    yield Case("PRelu", {0: x}, {1: rand(3, 1, 1)})
    yield Case("PRelu", {0: x}, {1: rand(1)})
    yield Case("PRelu", {0: x, 1: rand(2, 3, 4, 5)})


def softmax() -> Iterator[Case]:
    for op in ("Softmax", "LogSoftmax"):
        yield Case(op, {0: rand(2, 3, 4, low=-8, high=8)})
        for axis in (0, 1, 2, -2):
            yield Case(op, {0: rand(2, 3, 4)}, attributes={"axis": axis})
        yield Case(op, {0: rand(7)}, attributes={"axis": 0})


def normalization() -> Iterator[Case]:
    x = rand(2, 6, 4, 5)
    positive = {4: rand(6, low=0.1, high=2)}
    yield Case("BatchNormalization", {0: x}, {1: rand(6), 2: rand(6), 3: rand(6)} | positive)
    for other in (rand(3, 6), rand(2, 6, 5), rand(1, 6, 2, 3, 2)):
        constants = {1: rand(6), 2: rand(6), 3: rand(6)} | positive
        yield Case("BatchNormalization", {0: other}, constants, {"epsilon": 1e-2})
    yield Case("InstanceNormalization", {0: x}, {1: rand(6), 2: rand(6)})
    yield Case("InstanceNormalization", {0: rand(1, 6, 9)}, {1: rand(6), 2: rand(6)})
    group = {"num_groups": 3, "epsilon": 1e-3}
    yield Case("GroupNormalization", {0: x}, {1: rand(6), 2: rand(6)}, group, since=21)
    yield Case("LayerNormalization", {0: x}, {1: rand(5), 2: rand(5)}, since=17)
    yield Case("LayerNormalization", {0: x}, {1: rand(4, 5)}, {"axis": 2}, since=17)
    yield Case("RMSNormalization", {0: x}, {1: rand(5)}, since=23)
    for axis in (1, -1):
        for p in (1, 2):
            yield Case("LpNormalization", {0: x}, attributes={"axis": axis, "p": p})
    yield Case("LRN", {0: x}, attributes={"size": 3, "alpha": 0.5, "bias": 2.0})
    yield Case("MeanVarianceNormalization", {0: x})


def products() -> Iterator[Case]:
    for a, b in (((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (4, 5)),
                 ((3, 4), (4,)), ((4,), (4,))):  # fmt: skip
        yield Case("MatMul", {0: rand(*a), 1: rand(*b)})
        yield Case("MatMul", {0: rand(*a)}, {1: rand(*b)})
    a, b = rand(3, 4), rand(4, 5)
    yield Case("Gemm", {0: a}, {1: b, 2: rand(5)})
    yield Case("Gemm", {0: a}, {1: b, 2: rand(1, 5)}, {"alpha": 0.5, "beta": 2.0})
    yield Case("Gemm", {0: a}, {1: b, 2: rand(3, 5)})
    yield Case("Gemm", {0: a}, {1: b, 2: rand(3, 1)})
    yield Case("Gemm", {0: rand(4, 3)}, {1: rand(5, 4)}, {"transA": 1, "transB": 1})
    yield Case("Gemm", {0: a, 1: b, 2: rand(5)}, attributes={"alpha": 0.5, "beta": 2.0})


def elementwise() -> Iterator[Case]:
    a, b = rand(2, 3, 4), rand(3, 1)
    for op in ("Add", "Sub", "Mul", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
        yield Case(op, {0: a, 1: b}, since=12 if op.endswith("OrEqual") else 11)
        yield Case(op, {0: a}, {1: b}, since=12 if op.endswith("OrEqual") else 11)
    yield Case("Div", {0: a}, {1: rand(3, 1, low=0.5)})
    for op in ("Min", "Max", "Sum", "Mean"):
        yield Case(op, {0: a, 1: b, 2: rand(4)})
    for dtype in (np.float32, np.int32, np.int64):
        x = ints(3, 40, low=0, high=3, dtype=dtype)
        yield Case("Equal", {0: x, 1: x[:, ::-1].copy()})
    for op in ("And", "Or", "Xor"):
        yield Case(op, {0: a > 0, 1: b > 0})
    yield Case("Where", {0: a > 0, 1: b, 2: rand(4)})
    yield Case("Where", {0: a > 0, 1: ints(3, 1, dtype=np.int64)}, {2: scalar(7, np.int64)})
    types = {
        TensorProto.FLOAT: np.float32, TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8,
        TensorProto.INT32: np.int32, TensorProto.INT64: np.int64, TensorProto.BOOL: np.bool_,
    }  # fmt: skip
    small = ints(5, 6, low=0, high=100)
    for source in types.values():
        for number in types:
            yield Case("Cast", {0: small.astype(source)}, attributes={"to": int(number)})
    yield Case("Cast", {0: rand(4, 9, low=-100, high=100)}, attributes={"to": 6})


def shapes() -> Iterator[Case]:
    x = rand(2, 1, 3)
    yield Case("Expand", {0: x}, {1: vector(4, 1)})
    yield Case("Expand", {0: x}, {1: vector(2, 2, 4, 3)})
    yield Case("Tile", {0: x}, {1: vector(2, 3, 2)})
    yield Case("Tile", {0: ints(2, 3)}, {1: vector(1, 4)})
    yield Case("Trilu", {0: rand(2, 4, 5)}, since=14)
    yield Case("Trilu", {0: rand(4, 5)}, {1: scalar(1, np.int64)}, {"upper": 0}, since=14)
    maps = rand(1, 3, 6, 5)
    for widths in (
        (0, 0, 0, 0, 0, 0, -1, -1),  # crops
        (0, -1, 0, -2, 0, 0, 0, 0),
        (0, 0, -2, 1, 0, 0, 2, -1),  # crops and pads, also along one axis
    ):
        for mode in ("constant", "reflect", "edge"):
            fill = {2: scalar(0.5)} if mode == "constant" else {}
            yield Case("Pad", {0: maps}, {1: vector(*widths), **fill}, {"mode": mode})


def constant() -> Iterator[Case]:
    """Outputs that are inputs or constants: nothing is left to compute."""
    x = rand(2, 3, 4)
    yield Case("Identity", {0: x})
    yield Case("Shape", {0: x})
    yield Case("Shape", {0: x}, attributes={"start": 1}, since=15)
    yield Case("Size", {0: x})
    yield Case("ConstantOfShape", {}, {0: vector(2, 3)})
    yield Case("Range", {}, {i: scalar(n) for i, n in enumerate((1, 10, 2))})
    yield Case("EyeLike", {0: rand(3, 4)}, attributes={"k": 1})
    yield Case("Reshape", {0: x}, {1: vector(4, -1)})


def reductions() -> Iterator[Case]:
    x = rand(2, 3, 4, 5)
    for op in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp", "LogSum"):
        source = np.abs(x) + 1 if op == "LogSum" else x
        # axes turned from an attribute into an input, ReduceSum's first
        turned = 13 if op == "Sum" else 18
        for axes, keepdims in (([2, 3], 1), ([-1], 0), ([0, 2], 0), (None, 1)):
            given: Attributes = {"keepdims": keepdims}
            old = given if axes is None else given | {"axes": axes}
            yield Case(f"Reduce{op}", {0: source}, {}, old, until=turned - 1)
            new = {} if axes is None else {1: vector(*axes)}
            yield Case(f"Reduce{op}", {0: source}, new, given, since=turned)
    for op in ("ArgMax", "ArgMin"):
        for axis in (0, 1, -1):
            yield Case(op, {0: x}, attributes={"axis": axis, "keepdims": axis % 2})


def recurrent() -> Iterator[Case]:
    steps, batch, size, hidden = 4, 2, 3, 5
    x = rand(steps, batch, size)
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        for direction, d in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            weights = {
                1: rand(d, gates * hidden, size, low=-0.6, high=0.6),
                2: rand(d, gates * hidden, hidden, low=-0.6, high=0.6),
            }
            given: Attributes = {"hidden_size": hidden, "direction": direction}
            count = 3 if op == "LSTM" else 2
            yield Case(op, {0: x}, weights, given, count)
            full = weights | {3: rand(d, 2 * gates * hidden), 5: rand(d, batch, hidden)}
            full[4] = np.full(batch, steps, np.int32)
            if op == "LSTM":
                full |= {6: rand(d, batch, hidden), 7: rand(d, 3 * hidden)}
            if op == "GRU":
                given = given | {"linear_before_reset": 1}
            if op == "RNN":
                given = given | {"activations": ["Relu"] * d}
            yield Case(op, {0: x}, full, given, count)


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "unary": unary, "softmax": softmax, "normalization": normalization, "products": products,
    "elementwise": elementwise, "shapes": shapes, "constant": constant,
    "reductions": reductions, "recurrent": recurrent,
}  # fmt: skip


def runtime(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime gives."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


def ours(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The graph's inputs in its layout."""
    return {
        port.value: port.from_source(inputs[port.name], graph.type(port.value).shape)
        for port in graph.inputs
    }


def close(got: np.ndarray, want: np.ndarray, about: str) -> None:
    assert got.shape == want.shape, about
    assert got.dtype == want.dtype, about
    if want.dtype != np.float32:
        np.testing.assert_array_equal(got, want, about)
        return
    most = float(np.abs(want[np.isfinite(want)]).max(initial=0.0))
    np.testing.assert_allclose(
        got, want, rtol=TOLERANCE, atol=TOLERANCE * max(most, 1e-30), err_msg=about
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_onnx_runtime(family, tmp_path):
    graphs, feeds, wanted, labels = [], [], [], []
    for case in FAMILIES[family]():
        opsets = [opset for opset in OPSETS if case.exists(opset)]
        assert opsets or case.since > OPSETS[-1] or case.until < OPSETS[0], case.op
        inputs = {f"x{i}": array for i, array in case.inputs.items()}
        for opset in opsets:
            about = f"{case.op} {case.attributes} opset {opset}"
            model = case.model(opset)
            want = runtime(model, inputs)
            source = read_onnx(model.SerializeToString(), "case", {})
            verify(source)
            passes = pipeline(quantized_io=False, fixed=False)
            for graph in (source, run_passes(source, passes)):
                values = interpret(graph, ours(graph, inputs))
                for port, expected in zip(graph.outputs, want, strict=True):
                    close(port.to_source(values[port.value]), expected, about)
            # the planner refuses outputs that no input has a part in
            known = any(graph.is_constant(port.value) for port in graph.outputs)
            if opset == opsets[-1] and not known:
                graphs.append(graph)
                feeds.append([ours(graph, inputs)])
                wanted.append(want)
                labels.append(about)
    for graph, (found,), want, about in zip(
        graphs, run_on_host(graphs, feeds, tmp_path), wanted, labels, strict=True
    ):
        for port, got, expected in zip(graph.outputs, found, want, strict=True):
            close(port.to_source(got), expected, f"C of {about}")


# -- quantised forms ---------------------------------------------------------------------------


def quantized_cases() -> Iterator[Case]:
    """QLinear ops; scales and zero points stand where each op wants them."""
    s, t, u = scalar(0.05), scalar(0.02), scalar(0.11)
    for dtype, zero in ((np.int8, 3), (np.uint8, 130)):
        low = 0 if dtype is np.uint8 else -128
        z = scalar(zero, dtype)

        def q(*shape: int, low: int = low, dtype: type = dtype) -> np.ndarray:
            return ints(*shape, low=low, high=low + 256, dtype=dtype)

        x, w = q(1, 4, 7, 6), ints(6, 4, 3, 3, low=-127)
        scales = np.linspace(0.001, 0.004, 6).astype(np.float32)
        bias = ints(6, low=-500, high=500, dtype=np.int32)
        conv: Attributes = {"pads": [1, 1, 1, 1], "strides": [2, 1]}
        yield Case(
            "QLinearConv", {0: x},
            {1: s, 2: z, 3: w, 4: scales, 5: np.zeros(6, np.int8), 6: u, 7: z, 8: bias}, conv,
        )  # fmt: skip
        a, b = q(2, 5, 8), q(8, 3)
        products = {1: s, 2: z, 4: scalar(0.003), 5: z, 6: u, 7: z}
        yield Case("QLinearMatMul", {0: a}, products | {3: b})
        yield Case("QLinearMatMul", {0: a, 3: q(2, 8, 3)}, products)
        if dtype is np.uint8:
            gemm = {1: s, 2: z, 3: b, 4: scalar(0.003), 5: z, 6: bias[:3], 7: u, 8: z}
            yield Case("QGemm", {0: q(5, 8)}, gemm, domain=MICROSOFT)
        for op in ("QLinearAdd", "QLinearMul"):
            constants = {1: s, 2: z, 4: t, 5: z, 6: u, 7: z}
            yield Case(op, {0: x, 3: q(1, 4, 1, 1)}, constants, domain=MICROSOFT)
        ends = {1: s, 2: z, 3: t, 4: z}
        yield Case("QLinearSigmoid", {0: x}, ends, domain=MICROSOFT)
        yield Case("QLinearLeakyRelu", {0: x}, ends, {"alpha": 0.2}, domain=MICROSOFT)
        yield Case("QLinearGlobalAveragePool", {0: x}, ends, domain=MICROSOFT)
        window: Attributes = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}
        yield Case("QLinearAveragePool", {0: x}, ends, window, domain=MICROSOFT)
        opset: Attributes = {"opset": 13, "axis": -1}
        unit = {1: s, 2: z, 3: scalar(1 / 256), 4: scalar(low, dtype)}
        yield Case("QLinearSoftmax", {0: x}, unit, opset, domain=MICROSOFT)
        joined = {0: u, 1: z, 3: s, 4: z, 6: t, 7: z}
        yield Case("QLinearConcat", {2: x, 5: q(1, 2, 7, 6)}, joined, {"axis": 1}, domain=MICROSOFT)


def test_qlinear_ops(tmp_path):
    """A step of ONNX Runtime at most, few such; the C equals the references byte for byte."""
    graphs, feeds, wanted, labels = [], [], [], []
    for case in quantized_cases():
        model = case.model(OPSETS[-1] if not case.domain else 17)
        about = f"{case.op} {next(iter(case.inputs.values())).dtype}"
        inputs = {f"x{i}": array for i, array in case.inputs.items()}
        (want,) = runtime(model, inputs)
        source = read_onnx(model.SerializeToString(), "case", {})
        verify(source)
        graph = run_passes(source, pipeline(quantized_io=True, fixed=False))
        port = graph.outputs[0]
        values = interpret(graph, ours(graph, inputs))
        got = port.to_source(values[port.value])
        assert got.shape == want.shape and got.dtype == want.dtype, about
        steps = np.abs(got.astype(np.int64) - want.astype(np.int64))
        assert steps.max() <= 1, about
        assert np.mean(steps) < 0.05, about
        graphs.append(graph)
        feeds.append([ours(graph, inputs)])
        wanted.append(values[port.value])
        labels.append(about)
    results = run_on_host(graphs, feeds, tmp_path)
    for ((got,),), want, about in zip(results, wanted, labels, strict=True):
        np.testing.assert_array_equal(got, want, about)


# -- ONNX's own test cases ---------------------------------------------------------------------

# What the newest ONNX definition and ONNX Runtime see differently.
EXCEPTIONS = {"test_resize_downsample_scales_linear_align_corners"}


def with_constants(model: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The model with all inputs but the first as constants, as networks have them."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    first, *others = list(made.graph.input)
    made.graph.initializer.extend(
        numpy_helper.from_array(arrays[item.name], item.name) for item in others
    )
    del made.graph.input[:]
    made.graph.input.append(first)
    return made


def attempt(model: onnx.ModelProto, arrays: dict[str, np.ndarray], want: Sequence) -> None:
    graph = read_onnx(model.SerializeToString(), "case", {})
    verify(graph)
    values = interpret(graph, ours(graph, arrays))
    for port, expected in zip(graph.outputs, want, strict=True):
        close(port.to_source(values[port.value]), np.asarray(expected), "node case")


def test_onnx_node_cases(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests  # noqa: PLC0415  it is slow

        cases = load_model_tests(kind="node")
    counts: Counter[str] = Counter()
    failures = []
    for case in cases:
        inputs, want = case.data_sets[0]
        arrays = [*inputs, *want]
        if not all(isinstance(a, np.ndarray | np.generic) and a.size for a in arrays):
            counts["no tensors, or empty ones"] += 1
            continue
        names = [item.name for item in case.model.graph.input]
        values = {name: np.asarray(a) for name, a in zip(names, inputs, strict=False)}
        models = [case.model]
        if len(inputs) == len(names) > 1:
            models.append(with_constants(case.model, values))
        outcome = "unsupported"
        for model in models:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    attempt(model, values, want)
                outcome = "passed"
                break
            except (UnsupportedOp, InvalidModel):
                continue
            except Exception as error:
                outcome = "failed"
                if case.name not in EXCEPTIONS:
                    failures.append(f"{case.name}: {type(error).__name__} {error}")
                break
        counts[outcome] += 1
    with capsys.disabled():
        print(f"\nONNX node cases: {dict(counts)}")
    assert not failures, "\n".join(failures)
    assert counts["passed"] >= NODE_CASES_PASSED
