"""Trains the classifier of train.py for a few epochs and leaves the quantising to tinymill.

Writes fashion_mnist_float.onnx, calibration.npz (training images, for the ranges of the
activations) and test.npz (the 10,000 test images with their labels). README.md has the commands
that make firmware of them.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from dataset import DEFAULT_DIR, load
from train import CALIBRATION_IMAGES, Classifier, as_input, export, train


def main() -> None:
    """Train, export, save the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DIR, metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    images, labels = load(arguments.data, "train")
    test_images, test_labels = load(arguments.data, "test")
    arguments.output.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    model = Classifier()
    train(model, as_input(images), labels, arguments.epochs, arguments.seed)
    model.eval()
    export(model, arguments.output / "fashion_mnist_float.onnx")
    np.savez(arguments.output / "calibration.npz", x=as_input(images[:CALIBRATION_IMAGES]))
    np.savez(arguments.output / "test.npz", x=as_input(test_images), y=test_labels)
    for name in ("fashion_mnist_float.onnx", "calibration.npz", "test.npz"):
        print(arguments.output / name)


if __name__ == "__main__":
    main()
