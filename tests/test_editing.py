"""Sparse editing: every output against the whole graph by the ops' references, with frozen
statistics, for masks of all kinds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from editing_nets import Net, mixed, spade, unet
from PIL import Image

from conftest import need_tool, shared_folder
from tinymill import editing
from tinymill.cli import main
from tinymill.editing.passes import prepared
from tinymill.editing.reference import edited_run, original_run
from tinymill.errors import InvalidInput, InvalidModel, OutOfMemory, UnsupportedOp
from tinymill.frontends import read_model

TOLERANCE = 1e-4
GENERATIVE = shared_folder() / "models" / "generative"
MASKS = ("empty", "pixel", "corner", "border", "full", "scattered", "block", "blocks")


def masks(shape: tuple[int, int, int], kind: str, rng: np.random.Generator) -> np.ndarray:
    """A random mask of a kind, [images, height, width]."""
    images, height, width = shape
    mask = np.zeros(shape, bool)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    if kind == "pixel":
        mask[rng.integers(images), y, x] = True
    elif kind == "corner":
        mask[:, rng.choice([0, height - 1]), rng.choice([0, width - 1])] = True
    elif kind == "border":
        mask[:, [0, height - 1]] = True
        mask[:, :, [0, width - 1]] = True
    elif kind == "full":
        mask[:] = True
    elif kind == "scattered":
        mask = rng.random(shape) < rng.uniform(0.005, 0.2)
    elif kind in ("block", "blocks"):
        for _ in range(1 if kind == "block" else 3):
            y, x = int(rng.integers(height)), int(rng.integers(width))
            rows, columns = rng.integers(1, 6, 2)
            mask[rng.integers(images), y : y + rows, x : x + columns] = True
    return mask


class Case:
    """A model with its engine, its original and the graph that tells what must come out."""

    def __init__(self, path: Path, *, seed: int = 0, **arguments) -> None:
        edited = arguments.get("edited")
        shapes = arguments.get("shapes")
        self.path = path
        self.graph, self.value = prepared(read_model(path, shapes=shapes), edited)
        self.engine = editing.compile(path, threads=2, **arguments)
        self.rng = np.random.default_rng(seed)
        self.port = next(p for p in self.graph.inputs if p.value == self.value)
        self.x = self.noise()
        self.others = {}
        for port in self.graph.inputs:
            if port.value != self.value:
                kind = self.graph.type(port.value).dtype.numpy
                drawn = self.rng.uniform(1, 100, port.shape)
                self.others[port.name] = (drawn if kind.kind == "i" else drawn / 100).astype(kind)
        self.original = self.engine.precompute(self.x, **self.others)
        given = {**self.others, self.port.name: self.x}
        self.values = original_run(
            self.graph,
            {
                p.value: p.from_source(given[p.name], self.graph.type(p.value).shape)
                for p in self.graph.inputs
            },
        )

    def noise(self) -> np.ndarray:
        return self.rng.standard_normal(self.port.shape).astype(np.float32)

    def ours(self, x: np.ndarray) -> np.ndarray:
        return self.port.from_source(x, self.graph.type(self.value).shape)

    def wanted(self, x: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The output of the frozen dense run, and where the edit reaches it."""
        values, reached = edited_run(self.graph, self.values, self.value, self.ours(x), mask)
        out = self.graph.outputs[0]
        return out.to_source(values[out.value]), reached[out.value]

    def edit(self, mask: np.ndarray) -> np.ndarray:
        return self.x + self.noise()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("editing")
    return {
        "unet": Case(unet(folder / "unet.onnx", batch=2)),
        "spade": Case(spade(folder / "spade.onnx")),
        "mixed": Case(mixed(folder / "mixed.onnx")),
    }


def compared(case: Case, count: int, **options) -> None:
    shape = case.engine.mask_shape
    for turn in range(count):
        mask = masks(shape, MASKS[turn % len(MASKS)], case.rng)
        x = case.edit(mask)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cached statistics, see test_drift_is_warned_about
            y = case.engine(x, mask, **options)
        want, reached = case.wanted(x, mask)
        assert np.abs(y - want).max() <= TOLERANCE * np.abs(want).max(), (turn, mask.sum())
        assert np.array_equal(
            case.engine.active(case.engine.manifest["outputs"][0]["map"]), reached
        )
        untouched = ~reached if y.shape[1] != reached.shape[1] else None
        if untouched is not None and untouched.shape[1:] == y.shape[2:]:
            still = np.broadcast_to(untouched[:, None], y.shape)
            assert np.abs(y - case.original)[still].max(initial=0) <= 1e-5
    assert np.array_equal(case.engine.undo(), case.original)


@pytest.mark.parametrize("model", ["unet", "spade", "mixed"])
def test_edits_give_the_dense_run_with_frozen_statistics(small, model):
    compared(small[model], 200)


@pytest.mark.parametrize("model", ["unet", "spade", "mixed"])
def test_the_original_is_what_onnxruntime_gives(small, model):
    ort = pytest.importorskip("onnxruntime")
    case = small[model]
    (want,) = ort.InferenceSession(case.path).run(None, {case.port.name: case.x, **case.others})
    assert np.abs(case.original - want).max() <= TOLERANCE * np.abs(want).max()


@pytest.mark.parametrize("model", ["unet", "spade", "mixed"])
def test_an_unchanged_image_gives_the_original_bit_for_bit(small, model):
    case = small[model]
    assert np.array_equal(case.engine(case.x), case.original)
    assert case.engine.last.active == 0 and case.engine.last.macs == 0
    # recomputed by tiles it is the original's to rounding
    for part in (0.05, 1.0):
        mask = case.rng.random(case.engine.mask_shape) <= part
        y = case.engine(case.x, mask, break_even=1e9)
        assert np.abs(y - case.original).max() <= 1e-5 * np.abs(case.original).max()
    assert np.array_equal(case.engine.undo(), case.original)


def test_less_is_computed_for_a_smaller_edit(small):
    case = small["spade"]
    mask = np.zeros(case.engine.mask_shape, bool)
    x = case.noise()
    shares = []
    for side in (1, 4, 16):
        mask[:, :side, :side] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.engine(x, mask)
        shares.append(case.engine.last.macs / case.engine.last.dense_macs)
    assert shares[0] < shares[1] < shares[2] and shares[0] < 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mask[:] = False
        mask[:, 0, 0] = True
        case.engine(x, mask, mode="fast")
    assert case.engine.last.macs / case.engine.last.dense_macs < shares[0] / 2


@pytest.mark.parametrize("limit", [0.9, 0.6])
def test_a_cache_limit_is_kept_by_recomputing(tmp_path, small, limit):
    most = small["unet"].engine.cache_bytes
    case = Case(unet(tmp_path / "unet.onnx", batch=2), cache_limit=int(most * limit))
    assert case.engine.cache_bytes <= most * limit and case.engine.manifest["recomputed"]
    compared(case, 16)


def test_a_cache_limit_that_nothing_keeps_is_refused(tmp_path):
    path = unet(tmp_path / "unet.onnx")
    with pytest.raises(OutOfMemory, match="cache of activations"):
        editing.compile(path, cache_limit=1000)


def test_edits_follow_each_other_and_are_taken_back(small):
    case = small["mixed"]
    engine = case.engine
    first, second = case.noise(), case.noise()
    mask = masks(engine.mask_shape, "block", case.rng)
    one = engine(first, mask)
    engine.commit()
    both = np.where(mask[:, None], first, case.x)
    second = np.where(masks(engine.mask_shape, "blocks", case.rng)[:, None], second, both)
    two = engine(second)
    # what is edited is told from the state with the first edit in it
    want, _ = case.wanted(second, (second != case.x).any(axis=1))
    assert np.abs(two - want).max() <= TOLERANCE * np.abs(want).max()
    assert np.array_equal(engine.undo(), one)
    assert np.array_equal(engine.undo(), case.original)
    with pytest.raises(InvalidInput, match="nothing to undo"):
        engine.undo()


@pytest.mark.parametrize("model", ["unet", "spade", "mixed"])
def test_edits_of_everything_are_computed_whole_and_taken_back(small, model):
    case = small[model]
    engine = case.engine
    full = np.ones(engine.mask_shape, bool)
    states = [case.original]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for turn in range(3):  # whole, by tiles, whole: each on top of the one before
            x = case.noise()
            states.append(engine(x, full, break_even=1e9 if turn == 1 else 1e-3))
            assert (engine.last.dense_layers == engine.last.layers) is (turn != 1)
            if turn == 0:
                want, _ = case.wanted(x, full)
                assert np.abs(states[-1] - want).max() <= TOLERANCE * np.abs(want).max()
                assert engine.last.log_bytes >= engine.cache_bytes // 2
            engine.commit()
        for state in states[-2::-1]:
            assert np.array_equal(engine.undo(), state)
        again = engine(case.noise(), full, break_even=1e-3)
        assert not np.array_equal(again, case.original)
    assert np.array_equal(engine.precompute(case.x, **case.others), case.original)


def test_refreshed_statistics_are_those_of_the_edited_image(tmp_path):
    """One layer behind the norm: all of it recomputed must be the plain dense run."""
    net = Net(5)
    x = net.input("x", (2, 3, 10, 9))
    h = net.conv(x, 3, 8)
    h = net.op("Concat", h, net.conv(h, 8, 4), axis=1)
    h = net.conv(net.silu(net.group_norm(h, (2, 12, 10, 9), 3)), 12, 3)
    case = Case(net.save(tmp_path / "net.onnx", h))
    edited = case.x * 1.5 + 0.5
    plain = case.engine.dense(edited)
    fresh = case.engine(edited, statistics="refresh")
    assert np.abs(fresh - plain).max() <= TOLERANCE * np.abs(plain).max()
    with pytest.warns(UserWarning, match="statistics"):
        cached = case.engine(edited)
    assert np.abs(cached - plain).max() > 10 * TOLERANCE
    # after an edit is taken back, its statistics are gone, too
    mask = masks(case.engine.mask_shape, "block", case.rng)
    want, _ = case.wanted(edited, mask)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = case.engine(edited, mask)
    assert np.abs(y - want).max() <= TOLERANCE * np.abs(want).max()


def test_fast_mode_is_near_the_exact_one(small):
    case = small["unet"]
    mask = np.zeros(case.engine.mask_shape, bool)
    mask[:, 4:9, 4:9] = True
    x = case.x + 0.2 * case.noise()
    exact = case.engine(x, mask)
    fast = case.engine(x, mask, mode="fast")
    assert case.engine.last.macs < 0.8 * case.engine.last.dense_macs
    error = np.sqrt(np.mean((fast - exact) ** 2))
    assert 0 < error < 0.1 * np.ptp(exact)


def test_espcn_from_images(shared):
    case = Case(
        GENERATIVE / "espcn_x3.onnx", shapes={"_ppp5_expanded": (1, 1, 16, 18)},
    )  # fmt: skip
    compared(case, 200)


def test_dcgan_from_an_inner_map(shared):
    case = Case(GENERATIVE / "dcgan_face64.onnx", edited="r3")
    compared(case, 8)


def test_threshold_and_dilation(small):
    case = small["mixed"]
    x = case.x.copy()
    x[0, 0, 5, 5] += 1e-3
    case.engine(x)
    images, height, width = case.engine.mask_shape
    assert round(case.engine.last.active * images * height * width) == 1
    case.engine(x, dilation=2)
    assert round(case.engine.last.active * images * height * width) == 25
    assert np.array_equal(case.engine(x, threshold=0.01), case.original)


def test_wrong_inputs_are_refused_and_change_nothing(small):
    case = small["unet"]
    engine, x = case.engine, case.noise()
    engine(case.x)
    mask = masks(engine.mask_shape, "block", case.rng)
    nan = x.copy()
    nan[0, 0, 3, 3] = np.nan
    for wrong, arguments, match in (
        (x[:, :, :8], {}, "the model takes"),
        (x.astype(np.float64), {}, "float32 is needed"),
        (nan, {}, "not finite"),
        (x, {"mask": mask[:, :8]}, "is needed"),
        (x, {"mask": mask.astype(object)}, "mask of object"),
        (x, {"mode": "quick"}, "modes are"),
        (x, {"statistics": "none"}, "statistics"),
        (x, {"threshold": -1.0}, "threshold"),
        (x, {"time": 3}, "no input time"),
        (x, {"t": case.others["t"] + 1}, "another value"),
    ):
        with pytest.raises(InvalidInput, match=match):
            engine(wrong, **arguments)
        assert np.array_equal(engine.output(), case.original)
    # not a number outside the mask is not looked at
    outside = np.where(mask[:, None], x, np.nan).astype(np.float32)
    assert np.isfinite(engine(outside, mask)).all()
    engine.undo()
    with pytest.raises(InvalidInput, match="missing"):
        engine.precompute(x)
    with pytest.raises(InvalidInput, match="not finite"):
        engine.precompute(nan, **case.others)
    assert np.array_equal(engine.output(), case.original)


def test_arrays_of_other_strides_and_tensors_are_read_where_they_lie(small):
    case = small["mixed"]
    x = case.noise()
    want = case.engine(x)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not last.flags.c_contiguous and np.array_equal(case.engine(last), want)
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
    assert np.array_equal(case.engine(tensor), want)
    # an answer without a copy is the engine's memory, which stays as long as the answer
    answer = case.engine(tensor, copy=False)
    assert np.array_equal(answer, want) and not answer.flags.owndata
    assert not answer.flags.writeable
    case.engine.undo()


def test_what_has_no_sparse_form_is_named(tmp_path):
    net = Net()
    x = net.input("x", (1, 3, 8, 8))
    h = net.op("CumSum", x, net.const(np.int64(2)))
    path = net.save(tmp_path / "net.onnx", h)
    with pytest.raises(UnsupportedOp, match="CumSum"):
        editing.compile(path)
    net = Net()
    x = net.input("x", (1, 3, 8, 8))
    h = net.op("LRN", net.conv(x, 3, 4), size=3)
    path = net.save(tmp_path / "lrn.onnx", h)
    with pytest.raises(UnsupportedOp, match="LocalResponseNorm in sparse editing"):
        editing.compile(path)
    net = Net()
    z = net.input("z", (1, 16))
    path = net.save(tmp_path / "flat.onnx", net.op("Relu", net.linear(z, 16, 4)))
    with pytest.raises(UnsupportedOp, match="no input is a map"):
        editing.compile(path)
    with pytest.raises(InvalidModel, match="no value 'y'"):
        editing.compile(path, edited="y")


def test_a_project_is_whole_or_absent(tmp_path):
    path = spade(tmp_path / "spade.onnx")
    folder = editing.emit(path, tmp_path / "project")
    assert editing.SparseEngine(folder).input_shape == (1, 4, 16, 24)
    editing.emit(path, folder)  # again, over the first
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "mine.txt").write_text("keep me")
    with pytest.raises(Exception, match="stands there already"):
        editing.emit(path, broken)
    assert [p.name for p in broken.iterdir()] == ["mine.txt"]
    (folder / "weights.bin").write_bytes(b"1234")
    with pytest.raises(InvalidModel, match="numbers"):
        editing.SparseEngine(folder)
    (folder / "editing.json").write_text("{}")
    with pytest.raises(InvalidModel, match="form"):
        editing.SparseEngine(folder)
    with pytest.raises(InvalidModel, match="No such file"):
        editing.SparseEngine(tmp_path / "nowhere")


SANITIZED = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
import editing_nets as models
from pathlib import Path
from tinymill import editing
flags = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
editing.build.FLAGS = (*editing.build.FLAGS, *flags)
rng = np.random.default_rng(0)
for make in (models.spade, models.mixed, models.unet):
    path = make(Path(sys.argv[1]) / f"{make.__name__}.onnx")
    size = editing.compile(path).cache_bytes
    engine = editing.compile(path, cache_limit=int(size * 0.8))
    x = rng.standard_normal(engine.input_shape).astype("f4")
    more = {"t": np.array([3]), "context": np.ones((1, 5, 12), "f4")}
    engine.precompute(x, **(more if make is models.unet else {}))
    for part in (0.01, 0.2, 1):
        mask = rng.random(engine.mask_shape) <= part
        first = engine.output()
        engine(x + 1, mask)
        engine(x + 2, mask, mode="fast", statistics="refresh", break_even=1e9)
        assert np.array_equal(engine.undo(), first)
        engine(x + 3, mask)
        engine.commit()
    engine.dense(x)
print("clean")
"""


def test_the_runtime_is_clean_under_sanitizers(tmp_path):
    """All of it in a process of its own: bounds, undefined behaviour."""
    need_tool("gcc")
    found = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(Path(path).is_absolute() for path in found):
        pytest.skip("gcc has no sanitizers here")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SANITIZED, tmp_path, Path(__file__).parent],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "LD_PRELOAD": " ".join(found), "ASAN_OPTIONS": "detect_leaks=0",
             "TINYMILL_CC": "gcc"},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "clean\n", done.stderr[-3000:]


def test_decomposed_norms_are_recognised(tmp_path):
    net = Net(3)
    x = net.input("x", (1, 3, 9, 8))
    h = net.conv(x, 3, 4)
    axes = net.shape(2, 3)
    centred = net.op("Sub", h, net.op("ReduceMean", h, axes, keepdims=1))
    square = net.op("ReduceMean", net.op("Mul", centred, centred), axes, keepdims=1)
    deviation = net.op("Sqrt", net.op("Add", square, net.const(np.float32(1e-5))))
    h = net.conv(net.op("Relu", net.op("Div", centred, deviation)), 4, 2)
    case = Case(net.save(tmp_path / "net.onnx", h))
    assert [node.op.name for node in case.graph.nodes].count("GroupNorm") == 1
    compared(case, 8)


def test_group_normalization_as_one_op(tmp_path):
    net = Net(4, opset=21)
    x = net.input("x", (1, 4, 8, 8))
    h = net.op("GroupNormalization", net.conv(x, 4, 6), net.random(6), net.random(6), num_groups=3)
    case = Case(net.save(tmp_path / "net.onnx", net.conv(net.silu(h), 6, 2)))
    compared(case, 8)


def test_models_are_checked_by_onnx(small):
    for case in small.values():
        onnx.checker.check_model(onnx.load(case.path))


def test_a_picture_is_edited_by_the_command(shared, tmp_path, capsys):
    """ESPCN on a stroke: active share, MACs, distance to the dense run, the picture."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (6, 7), np.uint8)).resize((56, 48))
    smooth.save(tmp_path / "a.png")
    stroke = np.array(smooth)
    stroke[20:24, 10:22] = 255
    Image.fromarray(stroke).save(tmp_path / "b.png")
    marked = np.zeros_like(stroke)
    marked[20:24, 10:22] = 255
    Image.fromarray(marked).save(tmp_path / "m.png")
    project = str(tmp_path / "project")
    model = GENERATIVE / "espcn_x3.onnx"
    shape = "_ppp5_expanded=1,1,48,56"
    assert told(["edit", "compile", str(model), "-o", project, "--shape", shape], capsys)
    line = ["edit", "run", project, "--original", str(tmp_path / "a.png"), "--edited",
            str(tmp_path / "b.png"), "-o", str(tmp_path / "c.png")]  # fmt: skip
    found = json.loads(told([*line, "--json"], capsys))
    assert 0 < found["active"] <= 48 / (48 * 56) and found["warnings"] == []
    assert found["macs"] < 0.4 * found["dense_macs"]
    assert found["distance"]["largest"] < 1e-4
    ort = pytest.importorskip("onnxruntime")
    real = stroke[None, None].astype(np.float32) / 255
    (want,) = ort.InferenceSession(model).run(None, {"_ppp5_expanded": real})
    pixels = np.clip(np.rint(want[0, 0] * 255), 0, 255)
    assert np.abs(np.asarray(Image.open(tmp_path / "c.png"), float) - pixels).max() <= 1
    # with a mask the same; in fast mode near it, and the plain words
    masked = json.loads(told([*line, "--json", "--mask", str(tmp_path / "m.png")], capsys))
    assert masked["distance"]["largest"] < 1e-4
    text = told([*line, "--mode", "fast"], capsys)
    assert "MACs left" in text and "distance to the dense run" in text and "dB" in text
    assert "-0.0" not in text


def told(line: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as end:
        main(line)
    found = capsys.readouterr()
    assert end.value.code == 0, found.err
    return found.out
