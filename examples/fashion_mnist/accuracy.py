"""Accuracy of the compiled C on the 10,000 Fashion-MNIST test images, on the host."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import tinymill
from dataset import DEFAULT_DIR, load
from tinymill.errors import TinymillError

MODEL = Path(__file__).resolve().parent / "fashion_mnist_int8.onnx"


def main() -> None:
    """Prints how many of the test images the C recognises, and its flash."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--data", type=Path, default=DEFAULT_DIR)
    arguments = parser.parse_args()
    images, labels = load(arguments.data, "test")
    frames = (images.astype(np.int16) - 128).astype(np.int8)[:, None, None]
    result = tinymill.run(arguments.model, target="host", input=frames, layers=False)
    answers = result.outputs[0].reshape(len(labels), -1).argmax(axis=1)
    right = int((answers == labels).sum())
    print(f"{right} of {len(labels)} right, {right / len(labels):.2%}")
    print(f"flash on this machine: {result.flash.total:,} bytes")


if __name__ == "__main__":
    try:
        main()
    except TinymillError as error:
        sys.exit(f"accuracy: {error}")
