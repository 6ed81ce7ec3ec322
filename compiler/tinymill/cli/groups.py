"""Options that belong together, as one object: a command that takes a ``Group`` has its options.

typer makes a command's options from the parameters of its function. ``spread`` gives it, in place
of a parameter whose type is a group, one for each field of the group:

    @dataclass(frozen=True)
    class Size(Group):
        width: Annotated[int, typer.Option(help="pixels")] = 8

    def command(*, size: Annotated[Size, without("height")]) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Group:
    """Options of several commands; each field is annotated as typer wants a parameter."""

    def keywords(self) -> dict[str, Any]:
        """For a call of the api, choices as their words; without what nobody asked for, as not
        every call knows every option."""
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or (value is False and field.default is False):
                continue
            found[field.name] = value.value if isinstance(value, Enum) else value
        return found


@dataclass(frozen=True)
class Without:
    """Fields of a group that a command does not offer; they keep their defaults."""

    names: frozenset[str]


def without(*names: str) -> Without:
    """As an annotation of a parameter: the command has the group's options but these."""
    return Without(frozenset(names))


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its groups as parameters of its own."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[Parameter] = []
    groups: dict[str, tuple[type[Group], list[str]]] = {}
    for name, given in signature(command).parameters.items():
        kind, left_out = _group_of(hints[name])
        if kind is None:
            own = given.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY)
            parameters.append(own)
            continue
        offered = [field for field in fields(kind) if field.name not in left_out]
        unknown = left_out - {field.name for field in fields(kind)}
        assert not unknown, f"{kind.__name__} has no {unknown}"
        annotations = get_type_hints(kind, include_extras=True)
        parameters += [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=annotations[field.name],
            )
            for field in offered
        ]
        groups[name] = (kind, [field.name for field in offered])

    @functools.wraps(command)
    def called(**values: Any) -> None:
        for name, (kind, members) in groups.items():
            values[name] = kind(**{member: values.pop(member) for member in members})
        command(**values)

    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _group_of(hint: Any) -> tuple[type[Group] | None, frozenset[str]]:
    """The group that a parameter's type is, if it is one, and the fields it is without."""
    extras: list[Any] = []
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
    if not (isinstance(hint, type) and issubclass(hint, Group)):
        return None, frozenset()
    names = [extra.names for extra in extras if isinstance(extra, Without)]
    return hint, frozenset().union(*names)
