"""Reads Fashion-MNIST as Debian's package dataset-fashion-mnist installs it (gzipped IDX files)."""

import gzip
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DEFAULT_DIR = Path("/usr/share/datasets/fashion-mnist")
LABELS = (Path(__file__).parent / "labels.txt").read_text().splitlines()
IMAGE_SIZE = 28

_IDX_UINT8 = 0x08
_FILE_PREFIX = {"train": "train", "test": "t10k"}

Split = Literal["train", "test"]


def load(directory: Path, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the images [N, 28, 28] and labels [N] of one split, or exit if they are missing."""
    prefix = _FILE_PREFIX[split]
    images = _read_idx(directory / f"{prefix}-images-idx3-ubyte.gz")
    labels = _read_idx(directory / f"{prefix}-labels-idx1-ubyte.gz")
    if images.shape != (len(labels), IMAGE_SIZE, IMAGE_SIZE):
        raise SystemExit(f"{directory}: {split} images {images.shape} for {len(labels)} labels")
    return images, labels


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file: 0, 0, type, rank, each dimension as big-endian uint32, then the values."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise SystemExit(
            f"{path} not found: 'apt-get install dataset-fashion-mnist', or give --data DIR"
        ) from None
    if content[:3] != bytes([0, 0, _IDX_UINT8]):
        raise SystemExit(f"{path} is not an IDX file of bytes")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
