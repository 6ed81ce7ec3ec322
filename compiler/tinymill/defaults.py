"""Defaults of the commands' options, from tinymill.toml and from environment variables."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import InvalidInput

FILE = "tinymill.toml"
ALL = "defaults"
"""The table whose options hold for every command that has them."""
PREFIX = "TINYMILL"
OWN = frozenset({"TINYMILL_CC"})
"""Variables with a meaning of their own: the host's compiler, whatever the target."""
MOST = 1 << 20

Options = Mapping[str, Mapping[str, str]]
"""For each command its options' names ("keep-inputs") and their parameters' ("keep_inputs")."""
Defaults = dict[str, dict[str, Any]]
"""For each command the values of parameters."""


def defaults_of(options: Options, file: Path | None, environment: Mapping[str, str]) -> Defaults:
    """What options are where the command line says nothing.

    ``file`` has tables named as the commands, and "defaults" for all; None is tinymill.toml in
    this folder, if there is one. The variable TINYMILL_RUN_TARGET is ``run --target``,
    TINYMILL_TARGET ``--target`` of every command. Variables win over the file, a command's own
    value over that for all. Raises ``InvalidInput``.
    """
    found: Defaults = {command: {} for command in options}
    if file is not None or Path(FILE).is_file():
        file = Path(FILE) if file is None else file
        _from_tables(found, options, _read(file), str(file))
    for command, names in options.items():
        for variable, parameter in _variables(command, names, environment):
            found[command][parameter] = environment[variable]
    return found


def origin_of(
    command: str,
    names: Mapping[str, str],
    parameter: str,
    file: Path | None,
    environment: Mapping[str, str],
) -> str:
    """The variable, or else the file, that gave a command's ``parameter`` its default."""
    set_by = [name for name, sets in _variables(command, names, environment) if sets == parameter]
    return set_by[-1] if set_by else str(file or FILE)


def _variables(
    command: str, names: Mapping[str, str], environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """The variables that are set for a command, and their parameters; later ones win."""
    for prefix in (PREFIX, f"{PREFIX}_{command.upper()}"):
        for name, parameter in names.items():
            variable = f"{prefix}_{name.replace('-', '_').upper()}"
            if environment.get(variable, "") and variable not in OWN:
                yield variable, parameter


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST + 1)
    except (OSError, ValueError) as error:
        raise InvalidInput(getattr(error, "strerror", None) or "no path", at=str(file)) from error
    try:
        if len(content) > MOST:
            raise ValueError(f"more than {MOST:,} bytes")
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"no TOML ({error})", at=str(file)) from error


def _from_tables(found: Defaults, options: Options, tables: Mapping[str, Any], at: str) -> None:
    unknown = sorted(set(tables) - {ALL, *options})
    if unknown:
        raise InvalidInput(
            f"[{unknown[0]}] is no command", at=at, hint=f"there are {', '.join([ALL, *options])}"
        )
    for table in (ALL, *options):
        values = tables.get(table, {})
        if not isinstance(values, dict):
            raise InvalidInput(f"{table} is no table", at=at)
        for name, value in values.items():
            takers = [
                command
                for command in (options if table == ALL else [table])
                if name in options[command]
            ]
            if not takers:
                raise InvalidInput(f"[{table}] has no option {name}", at=at)
            if not _plain(value):
                raise InvalidInput(
                    f"[{table}] {name} is neither text nor a number, true, false or a list of them",
                    at=at,
                )
            for command in takers:
                found[command][options[command][name]] = value


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str | int | float) for item in value)
    return isinstance(value, str | int | float | bool)
