"""What the commands say: tables and lines for persons, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import sys
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.table import Table

from ..errors import one_line

say = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def working(what: str, *, quiet: bool = False) -> AbstractContextManager[Any]:
    """Shows that something long is being done, where a person watches."""
    return say.status(what) if say.is_terminal and not quiet else contextlib.nullcontext()


def print_json(value: Any) -> None:
    """One object on one line; numpy's numbers as numbers, paths as text."""
    sys.stdout.write(json.dumps(value, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def table_of(*columns: str) -> Table:
    """An empty table; ">" before a column's title sets it to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left")
    return table


def size(count: int) -> str:
    """Bytes, for persons."""
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            number = count / factor
            return f"{number:.0f} {unit}" if number == int(number) else f"{number:.1f} {unit}"
    return f"{count} B" if count else "-"


def print_plain(table: Table) -> None:
    """Prints a table without folding its cells where the output is no terminal."""
    if out.is_terminal:
        out.print(table)
        return
    wide = Console(file=sys.stdout, width=240, highlight=False, markup=False, emoji=False)
    wide.print(table)


def short(name: str, most: int = 48) -> str:
    """A name from a file, in one line: its end where it is longer."""
    name = " ".join(name.split())
    return one_line(name if len(name) <= most else f"...{name[3 - most :]}", 4 * most)
