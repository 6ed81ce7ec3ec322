"""mcunet-5fps trained on the device by the 49 KB scheme: within its memory, its instructions, and
with the weights of the references, bit for bit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from conftest import ROOT, need_tool
from tinymill.api.trainable import compile_trainable, train_project
from tinymill.boards import load_board
from tinymill.deploy.toolchain import missing
from tinymill.frontends import read_model
from tinymill.loaded import Loaded
from tinymill.passes import pipeline, run_passes
from tinymill.training.head import with_new_head
from tinymill.training.reference import Trainer
from tinymill.training.scheme import read_scheme
from tinymill.training.step import build

MODEL = "models/imagenet/mcunet-5fps_int8_qdq.onnx"
MOST_RAM = 120_000
MOST_INSTRUCTIONS = 48_000_000
STEPS = 3


def board_of_128_kilobytes(folder: Path) -> Path:
    """The AN500 (Cortex-M7) with 128 KB of RAM in all."""
    text = (ROOT / "boards" / "mps2-an500.toml").read_text()
    text = re.sub(r'\[\[region\]\]\nname = "psram".*?\n\n', "", text, flags=re.DOTALL)
    text = re.sub(r'(kind = "ram"\naddress = \S+\nsize = )\S+', r"\g<1>0x2_0000", text)
    path = folder / "small.toml"
    path.write_text(text.replace('name = "mps2-an500"', 'name = "small"', 1))
    return path


def test_steps_on_a_board_of_128_kilobytes(shared: Path, tmp_path: Path) -> None:
    board = load_board(board_of_128_kilobytes(tmp_path))
    need_tool(*missing(board), "gcc")
    assert sum(region.size for region in board.ram) == 1 << 17
    graph = run_passes(read_model(shared / MODEL), pipeline(quantized_io=True, fixed=False), None)
    rng = np.random.default_rng(5)
    (port,) = graph.inputs
    shape = graph.type(port.value).shape
    pictures = rng.integers(-128, 128, (STEPS, *shape[1:])).astype(np.int8)
    labels = [1, 7, 3]
    samples = [{port.value: picture[None]} for picture in pictures]
    headed = with_new_head(graph, 10, 0, samples)
    targets = [np.array([label], np.int32) for label in labels]
    training = build(headed, read_scheme("mcunet-49k"), list(zip(samples, targets, strict=True)))
    compiled = compile_trainable(
        training.inference, training.step, 10, training.trained, board=board, name="mcunet",
        plan="min-ram",
    )  # fmt: skip
    compiled.write(tmp_path / "project")
    trainer = Trainer(training)
    losses = [
        trainer.step(trainer.prepare(sample), label, 0.01).loss
        for sample, label in zip(samples, labels, strict=True)
    ]
    host = Loaded(tmp_path / "project")
    source = np.concatenate([port.to_source(picture[None]) for picture in pictures])
    assert host.train(source, labels=labels, rates=0.01).astype(float).tolist() == losses
    assert host.trained_crc32 == trainer.crc32()
    found = train_project(
        tmp_path / "project", compiled.description, board,
        [picture.tobytes() for picture in pictures], labels, [0.01] * STEPS,
    )  # fmt: skip
    assert found.losses.astype(float).tolist() == losses
    assert found.trained_crc32 == trainer.crc32()
    assert found.ram.total <= MOST_RAM
    assert max(found.instructions) <= MOST_INSTRUCTIONS
