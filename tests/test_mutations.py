"""Mutated copies of real models: each compiles or is refused, none crashes, hangs or swells.

A case is a model's path and a seed, nothing else. A worker process (this file as a script)
takes a list of them, with limits on memory and time, and tells what became of each. By hand,
for a campaign or for one case:

    python tests/test_mutations.py --count 2000 --first 1000
    python tests/test_mutations.py --only tflm/person_detect.tflite:17
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
import tflite

from conftest import absent, shared_folder

SECONDS = 20
ADDRESS_SPACE = 3 << 30
MOST_RESIDENT = 2 << 30
MODELS = (
    "tflm/hello_world_int8.tflite",
    "tflm/hello_world_float.tflite",
    "tflm/trained_lstm_int8.tflite",
    "tflm/micro_speech_quantized.tflite",
    "tflm/keyword_scrambled_8bit.tflite",
    "mlperf_tiny/kws_ref_model.tflite",
    "mlperf_tiny/pretrainedResnet_quant.tflite",
    "wakeword/hey_jarvis.tflite",
    "tflm/person_detect.tflite",
    "generative/espcn_x3.onnx",
    "imagenet/mbv2-w0.35_int8_qdq.onnx",
    "imagenet/proxyless-w0.3_int8_qdq.onnx",
)
SHAPES = {"generative/espcn_x3.onnx": {"_ppp5_expanded": (1, 1, 20, 20)}}
SEEDS = {"tflite": 50, "onnx": 30}
HOSTILE = (
    0, 1, 2, 3, 5, 7, 100, 127, 128, 255, 256, 32767, 65535, 65536, 1 << 20, 1 << 24, 1 << 28,
    (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 32) - 2, -(1 << 31) & 0xFFFFFFFF,
)  # fmt: skip
HOSTILE_REALS = (
    float("nan"), float("inf"), -float("inf"), -0.0, 0.0, -1.0, 1e-45, 1e-38, 3e38, 1e10, 1e-10,
    0.5, 1.0, 256.0,
)  # fmt: skip


# -- mutations of bytes -----------------------------------------------------------------------


def _place(chance: random.Random, content: bytes | bytearray) -> int:
    """A place in the file, more often in the first or last 4 KB, where structure lies."""
    size = len(content)
    near = min(size, 4096)
    return chance.choice(
        (chance.randrange(size), chance.randrange(near), size - 1 - chance.randrange(near))
    )


def _block(chance: random.Random, content: bytes | bytearray) -> tuple[int, int]:
    start = _place(chance, content)
    return start, min(len(content), start + chance.choice((1, 4, 16, 64, 256, 1024)))


def _flip(chance: random.Random, content: bytearray) -> None:
    for _ in range(chance.choice((1, 2, 4, 16, 64))):
        content[_place(chance, content)] ^= 1 << chance.randrange(8)


def _replace(chance: random.Random, content: bytearray) -> None:
    for _ in range(chance.choice((1, 2, 8))):
        content[_place(chance, content)] = chance.randrange(256)


def _cut(chance: random.Random, content: bytearray) -> None:
    del content[_place(chance, content) :]


def _remove(chance: random.Random, content: bytearray) -> None:
    start, end = _block(chance, content)
    del content[start:end]


def _zero(chance: random.Random, content: bytearray) -> None:
    start, end = _block(chance, content)
    content[start:end] = bytes(end - start)


def _fill(chance: random.Random, content: bytearray) -> None:
    start, end = _block(chance, content)
    content[start:end] = b"\xff" * (end - start)


def _duplicate(chance: random.Random, content: bytearray) -> None:
    start, end = _block(chance, content)
    place = _place(chance, content)
    content[place:place] = content[start:end]


def _overwrite(chance: random.Random, content: bytearray) -> None:
    start, end = _block(chance, content)
    place = _place(chance, content)
    content[place : place + end - start] = content[start:end]


def _word(chance: random.Random, content: bytearray) -> None:
    """A hostile number in place of an aligned 32-bit word."""
    place = _place(chance, content) & ~3
    content[place : place + 4] = struct.pack("<I", chance.choice(HOSTILE))


BYTES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _replace, _cut, _remove, _zero, _fill, _duplicate, _overwrite, _word,
)  # fmt: skip


# -- mutations of flatbuffer fields -----------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A number in a TFLite file: where it lies and its struct format."""

    offset: int
    form: str


def _scalar(table: Any, slot: int, form: str) -> Iterator[Field]:
    at = table.Offset(slot)
    if at:
        yield Field(table.Pos + at, form)


def _vector(table: Any, slot: int, form: str) -> Iterator[Field]:
    at = table.Offset(slot)
    if not at:
        return
    start = table.Vector(at)
    yield Field(start - 4, "<I")
    size = struct.calcsize(form)
    for index in range(min(table.VectorLen(at), 64)):
        yield Field(start + index * size, form)


def _options(table: Any) -> Iterator[Field]:
    """All fields that an operator's options table has, each as byte and as word."""
    start = table.Pos - struct.unpack_from("<i", table.Bytes, table.Pos)[0]
    length = struct.unpack_from("<H", table.Bytes, start)[0]
    for slot in range(4, length, 2):
        at = struct.unpack_from("<H", table.Bytes, start + slot)[0]
        if at:
            yield Field(table.Pos + at, "<b")
            yield Field(table.Pos + at, "<i")


def _tensor_fields(tensor: Any) -> Iterator[Field]:
    yield from _vector(tensor._tab, 4, "<i")
    yield from _scalar(tensor._tab, 6, "<b")
    yield from _scalar(tensor._tab, 8, "<I")
    quantization = tensor.Quantization()
    if quantization is not None:
        yield from _vector(quantization._tab, 8, "<f")
        yield from _vector(quantization._tab, 10, "<q")
        yield from _scalar(quantization._tab, 16, "<i")


def _operator_fields(operator: Any) -> Iterator[Field]:
    yield from _scalar(operator._tab, 4, "<I")
    yield from _vector(operator._tab, 6, "<i")
    yield from _vector(operator._tab, 8, "<i")
    yield from _scalar(operator._tab, 10, "<b")
    options = operator.BuiltinOptions()
    if options is not None:
        yield from _options(options)


def tflite_fields(content: bytes) -> list[list[Field]]:
    """The numbers of a TFLite file that say something, grouped by kind."""
    model = tflite.Model.GetRootAs(content, 0)
    tensors: list[Field] = []
    operators: list[Field] = []
    rest: list[Field] = []
    for index in range(model.OperatorCodesLength()):
        for slot, form in ((4, "<b"), (8, "<i"), (10, "<i")):
            rest += _scalar(model.OperatorCodes(index)._tab, slot, form)
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        rest += [*_vector(graph._tab, 6, "<i"), *_vector(graph._tab, 8, "<i")]
        for index in range(graph.TensorsLength()):
            tensors += _tensor_fields(graph.Tensors(index))
        for index in range(graph.OperatorsLength()):
            operators += _operator_fields(graph.Operators(index))
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        rest += list(_vector(buffer._tab, 4, "<b"))[:1]
        if 0 < buffer.DataLength() <= 64:
            rest += list(_vector(buffer._tab, 4, "<b"))[1:]
    return [tensors, operators, rest]


def _fields(chance: random.Random, content: bytearray) -> None:
    groups = [group for group in tflite_fields(bytes(content)) if group]
    for _ in range(chance.choice((1, 1, 2, 4))):
        field = chance.choice(chance.choice(groups))
        size = struct.calcsize(field.form)
        place = slice(field.offset, field.offset + size)
        if field.form == "<f":
            raw = struct.pack("<f", chance.choice(HOSTILE_REALS))
        elif chance.random() < 0.4:
            old = struct.unpack(field.form, content[place])[0]
            step = chance.choice((-2, -1, 1, 2, 4, old))
            raw = (old + step & (1 << 8 * size) - 1).to_bytes(size, "little")
        else:
            value = chance.choice(HOSTILE)
            if size == 8 and value >> 31:
                value |= -1 << 32
            raw = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        content[place] = raw


# -- mutations of ONNX messages ---------------------------------------------------------------


def _messages(chance: random.Random, content: bytearray) -> None:
    model = onnx.ModelProto()
    model.ParseFromString(bytes(content))
    for _ in range(chance.choice((1, 1, 2, 3))):
        chance.choice(ONNX)(chance, model)
    content[:] = model.SerializeToString()


def _whole(chance: random.Random) -> int:
    value = chance.choice(HOSTILE)
    return chance.choice((value, -value, value << 31, value - 1))


def _attribute(chance: random.Random, model: onnx.ModelProto) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return
    node = chance.choice(nodes)
    item = chance.choice(node.attribute)
    if chance.random() < 0.2:
        item.type = chance.randrange(15)
    elif chance.random() < 0.1:
        item.name = chance.choice(("axis", "pads", "to", "group", "x", ""))
    elif item.ints:
        item.ints[chance.randrange(len(item.ints))] = _whole(chance)
        if chance.random() < 0.3:
            item.ints.append(_whole(chance))
    elif item.type == onnx.AttributeProto.FLOAT:
        item.f = chance.choice(HOSTILE_REALS)
    elif item.type == onnx.AttributeProto.STRING:
        item.s = chance.choice((b"", b"\xff\xfe", b"SAME_UPPER", b"linear", b"nearest", b"x"))
    else:
        item.i = _whole(chance)


def _drop_attribute(chance: random.Random, model: onnx.ModelProto) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if nodes:
        node = chance.choice(nodes)
        del node.attribute[chance.randrange(len(node.attribute))]


def _initializer(chance: random.Random, model: onnx.ModelProto) -> None:
    if not model.graph.initializer:
        return
    tensor = chance.choice(model.graph.initializer)
    what = chance.randrange(6)
    if what == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = _whole(chance) % (1 << 63)
    elif what == 1:
        tensor.data_type = chance.randrange(24)
    elif what == 2:
        tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    elif what == 3:
        tensor.data_location = onnx.TensorProto.EXTERNAL
    elif what == 4 and tensor.dims:
        # the same count of elements in another shape
        count = 1
        for size in tensor.dims:
            count *= size
        del tensor.dims[:]
        tensor.dims.extend(chance.choice(((count,), (1, count), (count, 1), (1, 1, 1, count))))
    elif what == 5 and len(tensor.raw_data) >= 4:
        raw = bytearray(tensor.raw_data)
        raw[:4] = struct.pack("<f", chance.choice(HOSTILE_REALS))
        tensor.raw_data = bytes(raw)


def _wiring(chance: random.Random, model: onnx.ModelProto) -> None:
    nodes = model.graph.node
    names = [name for node in nodes for name in (*node.input, *node.output)]
    node = chance.choice(nodes)
    ends = chance.choice((node.input, node.input, node.output))
    if ends:
        ends[chance.randrange(len(ends))] = chance.choice((*names, "", "nothing"))
    if chance.random() < 0.2 and ends:
        ends.append(chance.choice(names))
    if chance.random() < 0.2 and ends:
        del ends[chance.randrange(len(ends))]


def _kind(chance: random.Random, model: onnx.ModelProto) -> None:
    from tinymill.ops.registry import ONNX as KINDS  # noqa: PLC0415  filled by its import

    chance.choice(model.graph.node).op_type = chance.choice((*sorted(KINDS), "Loop", ""))


def _nodes(chance: random.Random, model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    what = chance.randrange(3)
    if what == 0:
        chance.shuffle(nodes)
    elif what == 1:
        del nodes[chance.randrange(len(nodes))]
    else:
        nodes.insert(chance.randrange(len(nodes)), chance.choice(nodes))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _ends(chance: random.Random, model: onnx.ModelProto) -> None:
    ends = chance.choice((model.graph.input, model.graph.output))
    if not ends:
        return
    item = chance.choice(ends)
    tensor = item.type.tensor_type
    what = chance.randrange(5)
    if what == 0:
        tensor.elem_type = chance.randrange(24)
    elif what == 1 and tensor.shape.dim:
        chance.choice(tensor.shape.dim).dim_value = _whole(chance)
    elif what == 2:
        tensor.shape.dim.add().dim_value = chance.choice((1, 2, 3, 1 << 30))
    elif what == 3 and tensor.shape.dim:
        del tensor.shape.dim[chance.randrange(len(tensor.shape.dim))]
    elif what == 4:
        item.name = chance.choice(("", "x", model.graph.node[0].output[0]))


def _opset(chance: random.Random, model: onnx.ModelProto) -> None:
    model.opset_import[0].version = chance.choice((0, 7, 11, 12, 13, 17, 21, 23, 99, -1))


ONNX = (
    _attribute, _attribute, _attribute, _drop_attribute, _initializer, _initializer, _wiring,
    _wiring, _kind, _nodes, _ends, _opset,
)  # fmt: skip


def mutated(content: bytes, model: str, seed: int) -> bytes:
    """The mutated copy of a model that ``seed`` stands for: half by bytes, half by fields."""
    chance = random.Random(f"{model}:{seed}")
    changed = bytearray(content)
    if seed % 2:
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            if len(changed) > 8:
                chance.choice(BYTES)(chance, changed)
    elif model.endswith(".onnx"):
        _messages(chance, changed)
    else:
        _fields(chance, changed)
    return bytes(changed)


# -- the worker -------------------------------------------------------------------------------


class _TooLong(BaseException):
    """A case ran into its alarm."""


def _alarm(*_: object) -> None:
    raise _TooLong


def _attempt(path: Path, model: str, seed: int) -> tuple[str, str]:
    """What became of one case: (verdict, words); verdicts "compiled" and "refused" are right."""
    from tinymill import api  # noqa: PLC0415  slow
    from tinymill.errors import TinymillError  # noqa: PLC0415

    try:
        # of this process, so that a busy machine makes no hang
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            if seed % 7 == 0:
                api.inspect(path, shapes=SHAPES.get(model))
            api.compile(
                path,
                target="host" if seed % 3 else "mps2-an386",
                io="float" if seed % 4 >= 2 else "quantized",
                requant="fixed" if seed % 5 == 0 else "exact",
                shapes=SHAPES.get(model),
                keep_inputs=seed % 11 == 0,
            )
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except TinymillError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                return "memory", str(error)
            cause = cause.__cause__
        text = str(error)
        return ("refused", text) if text and "\n" not in text else ("message", repr(text))
    except _TooLong:
        return "hang", traceback.format_exc(limit=-6)
    except BaseException:
        return "traceback", traceback.format_exc(limit=-6)
    return "compiled", ""


def _work() -> None:
    """Reads cases from stdin, one "model:seed" a line; writes a JSON object a line for each."""
    warnings.simplefilter("ignore")  # as the command does
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGPROF, _alarm)
    with tempfile.TemporaryDirectory(prefix="tinymill-mutations-") as name:
        for line in sys.stdin:
            model, _, number = line.strip().rpartition(":")
            content = mutated((shared_folder() / "models" / model).read_bytes(), model, int(number))
            path = Path(name) / f"case{Path(model).suffix}"
            path.write_bytes(content)
            started = time.monotonic()
            verdict, words = _attempt(path, model, int(number))
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            if resident > MOST_RESIDENT:
                verdict, words = "memory", f"{resident:,} bytes resident"
            told = {
                "case": line.strip(),
                "verdict": verdict,
                "words": words,
                "seconds": round(time.monotonic() - started, 2),
                "resident": resident,
            }
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
            if resident > MOST_RESIDENT:
                return


# -- the campaign -----------------------------------------------------------------------------


def campaign(cases: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What the worker tells of each case; one that kills or blocks it is told as such."""
    waiting = list(cases)
    while waiting:
        with subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as worker:
            assert worker.stdin is not None and worker.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(worker.stdout, selectors.EVENT_READ)
                while waiting:
                    case = waiting.pop(0)
                    worker.stdin.write(case + "\n")
                    worker.stdin.flush()
                    answer = ""
                    if selector.select(timeout=10 * SECONDS):
                        answer = worker.stdout.readline()
                    if not answer:
                        worker.kill()
                        code = worker.wait()
                        yield {"case": case, "verdict": "died", "words": f"exit code {code}"}
                        break
                    told = json.loads(answer)
                    yield told
                    if told["resident"] > MOST_RESIDENT:
                        break
            worker.stdin.close()


def cases_of(first: int = 0, count: int | None = None) -> list[str]:
    """``count`` seeds (default: as many as the test tries) for each model."""
    cases = []
    for model in MODELS:
        seeds = SEEDS[model.rpartition(".")[2]] if count is None else count
        cases += [f"{model}:{seed}" for seed in range(first, first + seeds)]
    return cases


def test_fields_are_found() -> None:
    """The walk over a TFLite file finds what the mutations need."""
    path = shared_folder() / "models" / MODELS[0]
    if not path.is_file():
        absent(f"no {path}")
    tensors, operators, rest = tflite_fields(path.read_bytes())
    assert len(tensors) > 50 and len(operators) > 20 and len(rest) > 10


def test_mutated_models(shared: Path) -> None:
    """At least 200 mutated copies compile or are refused in one line, in 20 s and 2 GB."""
    cases = cases_of()
    assert len(cases) >= 200
    told = list(campaign(cases))
    wrong = [each for each in told if each["verdict"] not in ("compiled", "refused")]
    verdicts = Counter(each["verdict"] for each in told)
    shown = "\n\n".join(f"{w['case']}: {w['verdict']}\n{w['words']}" for w in wrong[:5])
    if wrong:
        pytest.fail(f"{len(wrong)} of {len(told)} mutated models:\n{shown}", pytrace=False)
    # the mutations are neither all harmless nor all fatal
    assert verdicts["compiled"] >= len(cases) // 20 and verdicts["refused"] >= len(cases) // 5


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--worker", action="store_true", help="read cases from stdin")
    parser.add_argument("--only", nargs="+", help="the cases to try, as model:seed")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, help="seeds for each model")
    chosen = parser.parse_args()
    if chosen.worker:
        _work()
        return
    verdicts: Counter[str] = Counter()
    slowest = (0.0, "")
    for told in campaign(chosen.only or cases_of(chosen.first, chosen.count)):
        verdicts[told["verdict"]] += 1
        slowest = max(slowest, (told.get("seconds", 0.0), told["case"]))
        if told["verdict"] not in ("compiled", "refused") or chosen.only:
            print(f"{told['case']}: {told['verdict']}\n{told['words']}\n", flush=True)
    print(dict(verdicts), "slowest", slowest)


if __name__ == "__main__":
    _main()
