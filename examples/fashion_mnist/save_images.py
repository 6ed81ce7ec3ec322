"""Saves the first test image of each Fashion-MNIST class as a PNG, whatever a model makes of it."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from dataset import DEFAULT_DIR, LABELS, load


def main() -> None:
    """Write <label>_<class name>.png for each class."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DIR, metavar="DIR")
    parser.add_argument("--output", type=Path, default=Path("images"), metavar="DIR")
    arguments = parser.parse_args()

    images, labels = load(arguments.data, "test")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for label, name in enumerate(LABELS):
        first = int(np.argmax(labels == label))
        slug = name.split("/")[0].lower().replace(" ", "-")
        path = arguments.output / f"{label}_{slug}.png"
        Image.fromarray(images[first]).save(path)
        print(f"{path}: test image {first}")


if __name__ == "__main__":
    main()
