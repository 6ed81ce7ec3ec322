"""Pages of the documentation that are made from code: a hook of MkDocs (``mkdocs.yml``).

The commands come from typer, the Python calls from api.__all__, the JSON pages from docs/schemas,
the errors from errors.py, the boards from boards/; ARCHITECTURE.md and CHANGELOG.md are pages, too.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tinymill import api, errors
from tinymill.boards import list_boards, load_board
from tinymill.cli import app
from tinymill.export import FORMATS

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    pages = {
        "reference/commands.md": commands(),
        "reference/python.md": python(),
        "reference/json.md": schemas(),
        "reference/errors.md": failures(),
        "reference/boards.md": boards(),
        "reference/formats.md": formats(),
        "explanation/architecture.md": (ROOT / "ARCHITECTURE.md").read_text(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def commands() -> str:
    """Every command with its arguments and options, as ``--help`` tells them."""
    root: Any = typer.main.get_command(app)
    return "\n".join(["# Commands", "", root.help, "", *_commands(root)])


def _commands(root: Any, prefix: str = "") -> Iterator[str]:
    for own, command in root.commands.items():
        name = f"{prefix}{own}"
        if hasattr(command, "commands"):
            yield from (f"## {name}", "", command.help, "")
            yield from _commands(command, f"{name} ")
            continue
        context = command.context_class(command, info_name=f"tinymill {name}")
        usage = " ".join(command.collect_usage_pieces(context))
        yield from (f"## {name}", "", command.help, "", f"    tinymill {name} {usage}", "")
        yield from ("| | |", "|---|---|")
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record is None:
                record = (parameter.human_readable_name, getattr(parameter, "help", "") or "")
            yield f"| {_code(record[0])} | {_cell(record[1])} |"
        yield ""


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return re.sub(r"([\\|<>*_`\[\]])", r"\\\1", " ".join(text.split()))


def schemas() -> str:
    """What ``--json`` prints, command by command."""
    lines = [
        "# JSON", "",
        "With `--json` a command prints one object on one line, and nothing else on standard "
        "output. The schemas are JSON Schema, draft 2020-12.", "",
    ]  # fmt: skip
    for path in sorted((ROOT / "docs" / "schemas").glob("*.json")):
        schema = json.loads(path.read_text())
        lines += [f"## {schema['title'].removesuffix(' --json')}", "", schema["description"], "",
                  f"[{path.name}](../schemas/{path.name})", "", "| | | |", "|---|---|---|",
                  *_fields("", schema), ""]  # fmt: skip
    return "\n".join(lines)


def _fields(prefix: str, schema: dict[str, Any]) -> Iterator[str]:
    for key, part in schema.get("properties", {}).items():
        name = f"{prefix}{key}"
        kind = _kind(part)
        missing = "" if key in schema["required"] else " (may be absent)"
        yield f"| {_code(name)} | {kind} | {_cell(part.get('description', ''))}{missing} |"
        yield from _fields(f"{name}.", part)
        yield from _fields(f"{name}[].", part.get("items", {}))


def _kind(part: dict[str, Any]) -> str:
    """The types of a value, or the values that it may have."""
    if "enum" in part:
        return " or ".join(json.dumps(value) for value in part["enum"])
    return part["type"] if isinstance(part["type"], str) else " or ".join(part["type"])


def python() -> str:
    """Every function and result of the package: what ``tinymill`` and ``tinymill.api`` export."""
    found = {name: getattr(api, name) for name in api.__all__}
    functions = [name for name, item in found.items() if inspect.isfunction(item)]
    results = [item for item in found.values() if inspect.isclass(item)]
    for name in functions:
        given = get_type_hints(found[name])["return"]
        if inspect.isclass(given) and given.__module__.startswith("tinymill"):
            results.append(given)
    others = [name for name, item in found.items() if not callable(item) or get_args(item)]
    told = {name: get_args(found[name]) for name in others}
    lines = [
        "# Python", "",
        "What the commands do, with results as objects. All failures that a file or an argument "
        "can cause are [`TinymillError`](errors.md).", "",
        *(f"::: tinymill.api.{name}" for name in functions), "",
        "## Results", "",
        *dict.fromkeys(f"::: {item.__module__}.{item.__name__}" for item in results), "",
        "## Words", "",
        *(f"- `{name}`: {', '.join(f'`{word!r}`' for word in words)}"
          for name, words in told.items()), "",
    ]  # fmt: skip
    return "\n".join(lines)


def failures() -> str:
    """Every type of error."""
    lines = [
        "# Errors", "",
        "Whatever a file, an argument or the machine can cause is a `tinymill.TinymillError`: on "
        "the command line one line on standard error, `tinymill: PLACE: PROBLEM (HINT)`, and exit "
        "code 2. What lay in the output's place stays whole. Ctrl-C ends with code 130, SIGTERM "
        "with 143. Anything else, an `AssertionError` above all, is a bug of tinymill.", "",
        "| type | is a | when |", "|---|---|---|",
    ]  # fmt: skip
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.TinymillError):
            parent = kind.__bases__[0].__name__
            first = (kind.__doc__ or "").split("\n\n")[0]
            lines.append(f"| `{name}` | `{parent}` | {_cell(first)} |")
    lines += ["", "::: tinymill.errors.TinymillError", "", "::: tinymill.errors.OutOfMemory", ""]
    return "\n".join(lines)


def boards() -> str:
    """The boards that come with tinymill."""
    lines = ["# Boards", "", "| `--target` | core | features | RAM | flash | |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name in list_boards():
        board = load_board(name)
        ram, flash = (sum(r.size for r in part) // 1024 for part in (board.ram, board.flash))
        sizes = "| | " if board.is_host else f"| {ram:,} KiB | {flash:,} KiB "
        features = ", ".join(board.features)
        lines.append(f"| `{name}` | {board.core} | {features} {sizes}| {_cell(board.title)} |")
    lines += ["", "[A board of your own](../how-to/custom-board.md) is one file.", ""]
    return "\n".join(lines)


def formats() -> str:
    """What ``tinymill export`` writes, file by file."""
    lines = ["# Export formats", "", "[How to export](../how-to/export.md)", ""]
    for name, form in FORMATS.items():
        lines += [f"## {name}", "", f"{form.title[0].upper()}{form.title[1:]}.", "",
                  "| file | |", "|---|---|",
                  f"| `{form.sources}/` | the model's C, its weights, its kernels |"]  # fmt: skip
        if form.board:
            lines.append(f"| `{form.board}/` | boards: start-up code and linker script |")
        lines += [f"| {_code(path.format(name='NAME'))} | |" for path, _ in form.files]
        lines += ["| `plan.json` | how the model was compiled |", ""]
    return "\n".join(lines)
