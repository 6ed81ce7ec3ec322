"""``tinymill edit``: sparse engines for edits of pictures."""

from __future__ import annotations

import importlib

import typer

from ..groups import spread

COMMANDS = ("compile", "run")

app = typer.Typer(
    help="Recompute only what an edit of a picture touches: generators and U-Nets (ONNX, float32).",
    no_args_is_help=False,
    rich_markup_mode=None,
)

for _name in COMMANDS:
    _module = importlib.import_module(f".{_name}", __package__)
    app.command(_name)(spread(_module.command))
