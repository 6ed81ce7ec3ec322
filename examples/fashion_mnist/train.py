"""Trains a small depthwise-separable CNN on Fashion-MNIST and quantises it to int8 ONNX (QDQ).

Writes fashion_mnist_float.onnx and fashion_mnist_int8.onnx and prints the accuracy of both on the
10,000 test images, run by ONNX Runtime.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dataset import DEFAULT_DIR, IMAGE_SIZE, LABELS, load

STEM_CHANNELS = 24
# (output channels, stride) of each depthwise-separable block.
BLOCKS = ((40, 2), (40, 1), (96, 2), (96, 1), (96, 1), (128, 1))

BATCH_SIZE = 128
PEAK_LEARNING_RATE = 0.1
WARM_UP = 0.1  # share of all steps
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
MAX_SHIFT = 2  # pixels
CALIBRATION_IMAGES = 512

OPSET = 17
INPUT, OUTPUT = "image", "logits"
# The input is pixel / 255, which makes its int8 form pixel - 128.
INPUT_QUANTISATION = {"scale": np.array(1 / 255, np.float32), "zero_point": np.array(-128, np.int8)}


class NormalisedConv(nn.Module):
    """A convolution that keeps the size (at stride 1), and its batch normalisation."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        padding = kernel // 2
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False
        )
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, out_channels, H / stride, W / stride]."""
        return self.norm(self.conv(x))

    def fold(self) -> None:
        """Fold the normalisation into the convolution: for inference only, from then on."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class SeparableBlock(nn.Module):
    """A 3x3 depthwise and a 1x1 convolution, bridged by an addition where the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = NormalisedConv(in_channels, in_channels, 3, stride, groups=in_channels)
        self.pointwise = NormalisedConv(in_channels, out_channels, 1)
        self.relu = nn.ReLU()
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, out_channels, H / stride, W / stride]."""
        y = self.pointwise(self.relu(self.depthwise(x)))
        return self.relu(x + y if self.residual else y)


class Classifier(nn.Module):
    """Maps images [N, 1, 28, 28] with values in 0..1 to logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = NormalisedConv(1, STEM_CHANNELS, 3)
        self.relu = nn.ReLU()
        channels = STEM_CHANNELS
        blocks = []
        for out_channels, stride in BLOCKS:
            blocks.append(SeparableBlock(channels, out_channels, stride))
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classify = nn.Linear(channels, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, before any softmax."""
        features = self.blocks(self.relu(self.stem(x)))
        return self.classify(self.flatten(self.pool(features)))

    def fold_batch_norm(self) -> None:
        """Fold each batch normalisation into the convolution before it, for inference only."""
        self.eval()
        for module in self.modules():
            if isinstance(module, NormalisedConv):
                module.fold()


def augmented_batches(
    images: Tensor, labels: Tensor, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of shuffled batches, each image flipped or not and shifted a little."""
    padded = pad(images, [MAX_SHIFT] * 4)
    # windows[n, dy, dx] is image n shifted by (dy, dx): a view, nothing is copied.
    windows = padded[:, 0].unfold(1, IMAGE_SIZE, 1).unfold(2, IMAGE_SIZE, 1)
    order = torch.randperm(len(images), generator=generator)
    for start in range(0, len(images) - BATCH_SIZE + 1, BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        shift = torch.randint(2 * MAX_SHIFT + 1, (2, BATCH_SIZE), generator=generator)
        flip = torch.rand(BATCH_SIZE, 1, 1, 1, generator=generator) < 0.5
        batch = windows[chosen, shift[0], shift[1]].unsqueeze(1)
        yield torch.where(flip, batch.flip(-1), batch), labels[chosen]


def train(
    model: Classifier,
    images: NDArray[np.float32],
    labels: NDArray[np.uint8],
    epochs: int,
    seed: int,
) -> None:
    """Train in place: SGD with Nesterov momentum, warm-up, then a cosine to zero."""
    inputs = torch.from_numpy(images)
    targets = torch.from_numpy(labels.astype(np.int64))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=PEAK_LEARNING_RATE,
        momentum=0.9,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        PEAK_LEARNING_RATE,
        total_steps=epochs * (len(inputs) // BATCH_SIZE),
        pct_start=WARM_UP,
        cycle_momentum=False,
    )
    model.train()
    convert_conv2d_weight_memory_format(model, torch.channels_last)  # twice as fast on a CPU
    for epoch in range(1, epochs + 1):
        begin = time.monotonic()
        losses = []
        for batch, target in augmented_batches(inputs, targets, generator):
            loss = cross_entropy(model(batch), target, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(
            f"epoch {epoch}/{epochs}: loss {np.mean(losses):.4f}, {time.monotonic() - begin:.0f} s",
            flush=True,
        )


def export(model: Classifier, path: Path) -> None:
    """Write the trained model as float ONNX, batch 1.

    The older, TorchScript exporter: torch 2.13's newer one spreads the pooling and Flatten over
    ReduceMean, Reshape and Gather and drops the names of the layers.
    """
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE),),
        path,
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        dynamo=False,
    )


class CalibrationImages(CalibrationDataReader):
    """Feeds the quantiser images, one at a time."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._feeds = ({INPUT: image[np.newaxis]} for image in images)

    def get_next(self) -> dict[str, NDArray[np.float32]]:
        """Return the next feed, an empty one after the last."""
        return next(self._feeds, {})


def quantize(float_path: Path, int8_path: Path, images: NDArray[np.float32]) -> None:
    """Quantise to int8 in QDQ form; the images give the ranges of the activations."""
    quantize_static(
        float_path,
        int8_path,
        CalibrationImages(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"TensorQuantOverrides": {INPUT: [INPUT_QUANTISATION]}},
    )


def measure_accuracy(path: Path, images: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """Return the share of images that the ONNX model at path classifies rightly."""
    options = onnxruntime.SessionOptions()
    # By default ONNX Runtime leaves some int8 layers next to an Add in float on x86.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    logits = [
        cast(NDArray[np.float32], session.run([OUTPUT], {INPUT: image[np.newaxis]})[0])
        for image in images
    ]
    return float(np.mean(np.concatenate(logits).argmax(axis=1) == labels))


def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return pixels [N, 28, 28] of 0..255 as the model's input [N, 1, 28, 28] of 0..1."""
    return images[:, np.newaxis].astype(np.float32) / np.float32(255)


def main() -> None:
    """Train, fold, export, quantise, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DIR, metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--threads",
        type=int,
        default=2,
        help="another number, another model: sums are ordered by it",
    )
    arguments = parser.parse_args()

    train_images, train_labels = load(arguments.data, "train")
    test_images, test_labels = load(arguments.data, "test")
    arguments.output.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    model = Classifier()
    train(model, as_input(train_images), train_labels, arguments.epochs, arguments.seed)
    model.fold_batch_norm()

    float_path = arguments.output / "fashion_mnist_float.onnx"
    int8_path = arguments.output / "fashion_mnist_int8.onnx"
    export(model, float_path)
    quantize(float_path, int8_path, as_input(train_images[:CALIBRATION_IMAGES]))
    for path in (float_path, int8_path):
        accuracy = measure_accuracy(path, as_input(test_images), test_labels)
        print(f"{path}: {path.stat().st_size} bytes, accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
