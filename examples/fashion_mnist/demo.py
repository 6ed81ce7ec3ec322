"""What `make demo` shows: the shipped classifier as C, on the host and on a simulated Cortex-M4.

Compiles the model, runs ten test images through it on both, and prints what was recognised, the
memory map and the instructions of each layer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import tinymill
from tinymill.errors import TinymillError, ToolMissing

HERE = Path(__file__).resolve().parent
MODEL = HERE / "fashion_mnist_int8.onnx"
LABELS = (HERE / "labels.txt").read_text().splitlines()
OUTPUT = Path("build/demo")
BOARD = "mps2-an386"

say = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def main() -> int:
    """Runs the demo; 0 if the host part worked and all bytes that were compared are equal."""
    pictures = sorted((HERE / "images").glob("*.png"))
    pixels = np.stack([np.asarray(Image.open(path), np.uint8) for path in pictures])
    # the model's own integers: q = pixel - 128, one frame a picture
    frames = (pixels.astype(np.int16) - 128).astype(np.int8)[:, None, None]

    say.rule(f"1  compile {MODEL.name} to C")
    compiled = tinymill.compile(MODEL, target=BOARD, output=OUTPUT)
    say.print(f"{len(compiled.files)} files in {OUTPUT}/ for {compiled.board.title}")
    say.print(f"arena {compiled.plan.arena_bytes:,} bytes, placed at compile time")

    say.rule("2  run on this machine")
    host = tinymill.run(MODEL, target="host", input=frames, layers=False)
    say.print(f"built with the host's compiler, output crc32 {host.output_crc32}")

    say.rule("3  run on a simulated Cortex-M4")
    try:
        device = tinymill.run(OUTPUT, target=BOARD, input=frames)
    except ToolMissing as error:
        say.print(f"left out: {error}")
        device = None
    show_answers(pictures, host, device)
    if device is None:
        return 0
    show_layers(device)
    ram, flash = device.ram, device.flash
    say.rule("4  memory and time on the Cortex-M4, harness not counted")
    say.print(f"RAM    {ram.total:>9,} bytes = arena {ram.arena:,} + context {ram.static:,} "
              f"+ stack {ram.stack or 0:,} (painted)")  # fmt: skip
    say.print(f"flash  {flash.total:>9,} bytes = code {flash.code:,} + weights {flash.weights:,}")
    say.print(f"time   {device.instructions or 0:>9,} instructions for one picture, exact")
    same = host.output_crc32 == device.output_crc32
    say.print(f"host and Cortex-M4 gave {'the same' if same else 'DIFFERENT'} bytes")
    return 0 if same else 1


def show_answers(
    pictures: list[Path], host: tinymill.RunResult, device: tinymill.RunResult | None
) -> None:
    """One line a picture: what it is and what each target made of it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("picture", "is", "host says", "Cortex-M4 says"):
        table.add_column(column)
    for index, path in enumerate(pictures):
        answers = [
            LABELS[int(run.outputs[0][index].argmax())] if run is not None else "-"
            for run in (host, device)
        ]
        table.add_row(path.name, LABELS[int(path.name.split("_")[0])], *answers)
    say.print(table)


def show_layers(device: tinymill.RunResult) -> None:
    """Instructions of each layer, as a table with bars."""
    counts = [layer.instructions or 0 for layer in device.layers]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer")
    table.add_column("op")
    table.add_column("instructions", justify="right")
    table.add_column("share")
    for layer, count in zip(device.layers, counts, strict=True):
        share = count / sum(counts)
        table.add_row(layer.name, layer.op, f"{count:,}", f"{'#' * round(40 * share)} {share:.1%}")
    say.print(table)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinymillError as error:
        sys.exit(f"demo: {error}")
