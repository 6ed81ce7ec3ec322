"""A model without its last softmax, through every call that takes a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinymill
from conftest import need_tool
from tinymill.cli import main


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five classes of eight numbers."""
    weights = np.random.default_rng(3).normal(size=(8, 5)).astype(np.float32)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 8)), ("y", (1, 5)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"]),
    ]
    initial = [numpy_helper.from_array(weights, "w")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initial)
    path = tmp_path_factory.mktemp("softmax") / "classifier.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_classes_keep_their_order(classifier: Path, tmp_path: Path) -> None:
    need_tool("cc")
    x = np.random.default_rng(4).normal(size=(6, 8)).astype(np.float32)
    whole, bare = tinymill.load(classifier), tinymill.load(classifier, drop_softmax=True)
    logits = bare(x)
    assert np.array_equal(np.argsort(whole(x)), np.argsort(logits))
    assert logits.min() < 0  # no probabilities
    np.save(tmp_path / "x.npy", x[:, None])
    found = tinymill.run(classifier, input=tmp_path / "x.npy", drop_softmax=True)
    np.testing.assert_array_equal(found.outputs[0].reshape(6, 5), logits)
    assert [layer.op for layer in found.layers] == ["FullyConnected"]


def test_every_command_leaves_it_out(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_tool("cc")
    for line in (
        "validate MODEL -i pattern --drop-softmax",
        "plan MODEL --drop-softmax --json",
        f"compile MODEL -o {tmp_path}/c --drop-softmax --json",
        f"run {tmp_path}/c -i pattern --drop-softmax --json",
        f"export MODEL -o {tmp_path}/e -f make --drop-softmax --json",
        "flash MODEL --board nucleo-f446re --drop-softmax --dry-run",
    ):
        with pytest.raises(SystemExit) as ended:
            main(line.replace("MODEL", str(classifier)).split())
        told = capsys.readouterr()
        assert not ended.value.code, told.err
        assert "Softmax" not in told.out
    for folder in "ce":
        plan = json.loads((tmp_path / folder / "plan.json").read_text())
        assert plan["drop_softmax"] is True and len(plan["layers"]) == 1
