"""The networks that sparse editing is measured on, in torch with random weights, and as ONNX.

`ddpm_church`: the U-Net of "Denoising Diffusion Probabilistic Models" (Ho et al., 2020) for LSUN
churches of 256x256, 114 M parameters. `gaugan`: the SPADE generator of "Semantic Image Synthesis
with Spatially-Adaptive Normalization" (Park et al., 2019) for Cityscapes at 256x512, 93 M
parameters. Both are the dense originals of the SIGE paper (Li et al., 2022); speed does not depend
on weights. Each has a small size of the same structure for tests.

As a program: `editing_models.py ddpm-church|gaugan [--small] FILE.onnx`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

SEED = 2022
OPSET = 18


@dataclass(frozen=True)
class UnetSize:
    """Widths of a DDPM U-Net; `attention` lists the sides of maps that have it."""

    side: int = 256
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    blocks: int = 2
    attention: tuple[int, ...] = (16,)
    groups: int = 32


@dataclass(frozen=True)
class SpadeSize:
    """Widths of a SPADE generator; the map grows `doublings` times from the first one."""

    height: int = 256
    width: int = 512
    labels: int = 36
    channels: int = 64
    hidden: int = 128
    doublings: int = 5


SMALL_UNET = UnetSize(side=32, channels=16, multipliers=(1, 2), attention=(16,), groups=8)
SMALL_SPADE = SpadeSize(height=32, width=64, labels=5, channels=4, hidden=8)


def _norm(size: UnetSize, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(size.groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice; the time embedding is added in between."""

    def __init__(self, size: UnetSize, ins: int, outs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(size, ins), _norm(size, outs)
        self.conv1 = nn.Conv2d(ins, outs, 3, padding=1)
        self.conv2 = nn.Conv2d(outs, outs, 3, padding=1)
        self.time = nn.Linear(4 * size.channels, outs)
        self.shortcut = nn.Conv2d(ins, outs, 1) if ins != outs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.time(functional.silu(time))[:, :, None, None]
        h = self.conv2(functional.silu(self.norm2(h)))
        return self.shortcut(x) + h


class AttentionBlock(nn.Module):
    """Single-head self-attention over all pixels of a map, added to it."""

    def __init__(self, size: UnetSize, channels: int) -> None:
        super().__init__()
        self.norm = _norm(size, channels)
        self.query, self.key, self.value, self.project = (
            nn.Conv2d(channels, channels, 1) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        h = self.norm(x)
        query, key, value = (
            layer(h).reshape(batch, channels, height * width)
            for layer in (self.query, self.key, self.value)
        )
        weights = torch.softmax(query.transpose(1, 2) @ key * channels**-0.5, dim=2)
        h = (value @ weights.transpose(1, 2)).reshape(batch, channels, height, width)
        return x + self.project(h)


class Downsample(nn.Module):
    """A convolution of stride 2, padded below and on the right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest neighbours, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Module):
    """A residual block, with attention after it or without."""

    def __init__(self, size: UnetSize, ins: int, outs: int, attention: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(size, ins, outs)
        self.attention = AttentionBlock(size, outs) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.attention(self.block(x, time))


class Unet(nn.Module):
    """x [1, 3, side, side] and time step t [1] to the noise [1, 3, side, side]."""

    def __init__(self, size: UnetSize) -> None:
        super().__init__()
        width = size.channels
        self.width = width
        self.embed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width)
        )
        self.start = nn.Conv2d(3, width, 3, padding=1)
        side, channels, skips = size.side, width, [width]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        last = len(size.multipliers) - 1
        for level, multiplier in enumerate(size.multipliers):
            for _ in range(size.blocks):
                outs = width * multiplier
                self.down.append(Stage(size, channels, outs, side in size.attention))
                channels = outs
                skips.append(channels)
            if level < last:
                self.down.append(Downsample(channels))
                skips.append(channels)
                side //= 2
        self.middle = nn.ModuleList(
            [Stage(size, channels, channels, True), Stage(size, channels, channels, False)]
        )
        for level, multiplier in reversed(list(enumerate(size.multipliers))):
            for _ in range(size.blocks + 1):
                outs = width * multiplier
                self.up.append(Stage(size, channels + skips.pop(), outs, side in size.attention))
                channels = outs
            if level > 0:
                self.up.append(Upsample(channels))
                side *= 2
        self.norm = _norm(size, channels)
        self.end = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        half = self.width // 2
        steps = torch.arange(half, dtype=torch.float32, device=x.device)
        angles = t.float()[:, None] * torch.exp(steps * (-math.log(10000) / (half - 1)))[None]
        time = self.embed(torch.cat([torch.sin(angles), torch.cos(angles)], dim=1))
        h = self.start(x)
        skips = [h]
        for layer in self.down:
            h = layer(h) if isinstance(layer, Downsample) else layer(h, time)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, time)
        for layer in self.up:
            if isinstance(layer, Upsample):
                h = layer(h)
            else:
                h = layer(torch.cat([h, skips.pop()], dim=1), time)
        return self.end(functional.silu(self.norm(h)))


class Spade(nn.Module):
    """Batch normalisation, scaled and shifted by what convolutions see in the segmentation map."""

    def __init__(self, size: SpadeSize, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(size.labels, size.hidden, 3, padding=1)
        self.gamma, self.beta = (nn.Conv2d(size.hidden, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        seen = functional.interpolate(labels, size=x.shape[2:], mode="nearest")
        seen = functional.relu(self.shared(seen))
        return self.norm(x) * (1 + self.gamma(seen)) + self.beta(seen)


class SpadeBlock(nn.Module):
    """Two convolutions, and one of 1x1 where the channels change, each after a SPADE."""

    def __init__(self, size: SpadeSize, ins: int, outs: int) -> None:
        super().__init__()
        least = min(ins, outs)
        self.norm0, self.norm1 = Spade(size, ins), Spade(size, least)
        self.conv0 = nn.Conv2d(ins, least, 3, padding=1)
        self.conv1 = nn.Conv2d(least, outs, 3, padding=1)
        self.learned = ins != outs
        if self.learned:
            self.norm_s = Spade(size, ins)
            self.conv_s = nn.Conv2d(ins, outs, 1, bias=False)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        kept = self.conv_s(self.norm_s(x, labels)) if self.learned else x
        h = self.conv0(functional.leaky_relu(self.norm0(x, labels), 0.2))
        h = self.conv1(functional.leaky_relu(self.norm1(h, labels), 0.2))
        return kept + h


class SpadeGenerator(nn.Module):
    """labels [1, labels, height, width], one-hot and edges, to a picture [1, 3, height, width]."""

    def __init__(self, size: SpadeSize) -> None:
        super().__init__()
        width = size.channels
        self.first = (size.height >> size.doublings, size.width >> size.doublings)
        self.start = nn.Conv2d(size.labels, 16 * width, 3, padding=1)
        channels = (16, 16, 16, 16, 8, 4, 2, 1)
        self.blocks = nn.ModuleList(
            SpadeBlock(size, ins * width, outs * width) for ins, outs in pairwise(channels)
        )
        self.end = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, labels: Tensor) -> Tensor:
        h = self.start(functional.interpolate(labels, size=self.first, mode="nearest"))
        for index, block in enumerate(self.blocks):
            if index not in (0, 2):  # the first block and the two middle ones share two sizes
                h = functional.interpolate(h, scale_factor=2.0, mode="nearest")
            h = block(h, labels)
        return torch.tanh(self.end(functional.leaky_relu(h, 0.2)))


def ddpm_church(small: bool = False) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The U-Net and example inputs."""
    torch.manual_seed(SEED)
    size = SMALL_UNET if small else UnetSize()
    return Unet(size).eval(), (torch.randn(1, 3, size.side, size.side), torch.tensor([500]))


def gaugan(small: bool = False) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The generator, its batch statistics taken from one random map of rectangles, and that map."""
    torch.manual_seed(SEED)
    size = SMALL_SPADE if small else SpadeSize()
    model = SpadeGenerator(size)
    labels = torch.zeros(1, size.labels, size.height, size.width)
    cells = torch.randint(size.labels - 1, (1, size.height // 8, size.width // 8))
    areas = cells.repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels.scatter_(1, areas[:, None], 1.0)
    edges = torch.zeros_like(areas, dtype=torch.bool)
    edges[:, 1:] |= areas[:, 1:] != areas[:, :-1]
    edges[:, :, 1:] |= areas[:, :, 1:] != areas[:, :, :-1]
    labels[:, -1] = edges.float()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(labels)
    return model.eval(), (labels,)


MODELS: dict[str, Callable[[bool], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "ddpm-church": ddpm_church,
    "gaugan": gaugan,
}
INPUTS = {"ddpm-church": ["x", "t"], "gaugan": ["labels"]}


def export(name: str, path: Path, small: bool = False) -> None:
    """Writes a model of MODELS as ONNX, the weights beside it where they are too large for one."""
    model, inputs = MODELS[name](small)
    torch.onnx.export(
        model, inputs, str(path), input_names=INPUTS[name], output_names=["y"],
        opset_version=OPSET, dynamo=True, external_data=not small, verbose=False,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    export(arguments.model, arguments.file, arguments.small)


if __name__ == "__main__":
    main()
