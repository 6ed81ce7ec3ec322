"""The program's commands and the options that stand before them."""

from __future__ import annotations

import importlib
import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from .console import out
from .groups import spread

COMMANDS = (
    "inspect",
    "compile",
    "plan",
    "run",
    "validate",
    "quantize",
    "flash",
    "export",
    "boards",
)
"""In the order of ``--help``; each is the function ``command`` of the module of its name."""

app = typer.Typer(
    name="tinymill",
    help="Compile trained neural networks (ONNX, TFLite) to plain C for microcontrollers.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for _name in COMMANDS:
    _module = importlib.import_module(f".{_name.replace('-', '_')}", __package__)
    app.command(_name)(spread(_module.command))


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="defaults of options, a table for each command [default: tinymill.toml]",
            envvar="TINYMILL_CONFIG",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="say on stderr which programs are called")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    from ..defaults import defaults_of  # noqa: PLC0415

    if version:
        out.print(f"tinymill {__version__}")
        raise typer.Exit
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    context.default_map = defaults_of(_options(context), config, os.environ)


def _options(context: typer.Context) -> dict[str, dict[str, str]]:
    """For each command its long options, without dashes, and the parameters they set."""
    commands = getattr(context.command, "commands", {})
    return {
        name: {
            option.removeprefix("--"): parameter.name
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--") and parameter.name
        }
        for name, command in commands.items()
    }
