"""Steps of training on every target: the losses and weights of the references, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_training import EVERYTHING, inputs_of, moving_net, residual_net

from conftest import need_tool
from tinymill.api.trainable import compile_trainable, train_project
from tinymill.boards import load_board
from tinymill.deploy.toolchain import missing
from tinymill.ir import Graph
from tinymill.loaded import Loaded
from tinymill.training.reference import Trainer
from tinymill.training.scheme import Scheme, Weights
from tinymill.training.step import Training, build

STEPS = 12
RATES = [0.02 * 0.9**step for step in range(STEPS)]
CHOSEN = Scheme(
    biases=4,
    weights=(Weights(0, chosen=(0, 2)), Weights(-2, share=0.5), Weights(-1)),
    loss="margin",
)


def run_in_numpy(training: Training, graph: Graph) -> tuple[list[float], int, dict]:
    trainer = Trainer(training)
    losses = [
        trainer.step(trainer.prepare(inputs_of(graph, step)), step % 3, RATES[step]).loss
        for step in range(STEPS)
    ]
    return losses, trainer.crc32(), trainer.state


NEAREST = (residual_net(), EVERYTHING)
FEW = (residual_net(fixed=True), CHOSEN)
MOVING = (moving_net(), Scheme(biases=("*",), weights=(Weights("*"),)))


@pytest.mark.parametrize(
    ("target", "graph", "scheme"),
    [
        ("host", *NEAREST), ("host", *FEW), ("host", *MOVING),
        ("mps2-an500", *FEW), ("riscv32-virt", *MOVING),
    ],
    ids=["host-nearest", "host-few", "host-moving", "m7-few", "riscv-moving"],
)  # fmt: skip
def test_every_target_learns_the_same(
    target: str, graph: Graph, scheme: Scheme, tmp_path: Path
) -> None:
    board = load_board(target)
    need_tool(*missing(board))
    training = build(graph, scheme)
    losses, crc, state = run_in_numpy(training, graph)
    (logits,) = (port for port in training.step.outputs if port.value == training.logits)
    compiled = compile_trainable(
        training.inference, training.step, logits.shape[-1], training.trained,
        board=board, name="net",
    )  # fmt: skip
    compiled.write(tmp_path / "project")
    pictures: Sequence[np.ndarray] = [inputs_of(graph, step)["x"] for step in range(STEPS)]
    labels = [step % 3 for step in range(STEPS)]
    if board.is_host:
        model = Loaded(tmp_path / "project")
        found = model.train(np.concatenate(pictures), labels=labels, rates=RATES)
        for name in training.trained:
            np.testing.assert_array_equal(model.trained[name], state[name])
        assert model.trained_crc32 == crc
    else:
        run = train_project(
            tmp_path / "project", compiled.description, board,
            [picture.tobytes() for picture in pictures], labels, RATES,
        )  # fmt: skip
        found = run.losses
        assert run.trained_crc32 == crc
    assert found.astype(np.float64).tolist() == losses
