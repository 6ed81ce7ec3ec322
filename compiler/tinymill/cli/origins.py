"""Where options have their values from, for refusals of values that nobody typed just now."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from enum import Enum
from inspect import Parameter, signature
from typing import Any

import typer

from ..errors import TinymillError

CONTEXT = "context"


def with_origins(command: Callable[..., None]) -> Callable[..., None]:
    """The command, its failures with the variable or file that a value they name is from."""
    given = signature(command)

    @functools.wraps(command)
    def called(**values: Any) -> None:
        context = values.pop(CONTEXT)
        try:
            command(**values)
        except TinymillError as error:
            hints = [*_origins_in(str(error), values, context), *filter(None, [error.hint])]
            error.hint = "; ".join(hints) or None
            raise

    own = Parameter(CONTEXT, Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [own, *given.parameters.values()]
    called.__signature__ = given.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def origin(context: Any, parameter: str) -> str | None:
    """Where a command's parameter has its value from, if not from the command line."""
    from ..defaults import origin_of  # noqa: PLC0415

    source = context.get_parameter_source(parameter)
    if source is None or source.name != "DEFAULT_MAP" or context.parent is None:
        return None
    command = context.command.name
    names = options_of(context.parent)[command]
    return origin_of(command, names, parameter, context.parent.params.get("config"), os.environ)


def options_of(context: Any) -> dict[str, dict[str, str]]:
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


def _origins_in(text: str, values: dict[str, Any], context: Any) -> Iterator[str]:
    """A remark for each value in ``text`` that is not from the command line."""
    for parameter, value in values.items():
        word = str(value.value if isinstance(value, Enum) else value)
        place = origin(context, parameter)
        if place is not None and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text):
            yield f"{word} is from {place}"
