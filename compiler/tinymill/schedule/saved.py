"""A plan's choices as JSON: what compile writes to plan.json and takes back, edited or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidInput
from ..ir import Node
from .plan import Choice

LAZIEST = 2
MOST = 1 << 20
"""Rows, columns and layers in a plan that is read; more is no plan but a mistake."""


def schedule_of(choices: Sequence[Choice], nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """For each segment its layers by name, and how they take turns where they do."""
    found = []
    start = 0
    for choice in choices:
        names = [node.name for node in nodes[start : start + choice.count]]
        entry: dict[str, Any] = {"layers": names, "rows": choice.rows}
        if choice.rows:
            entry["lazy"] = choice.lazy
            if choice.fed:
                entry["fed"] = True
        for key, cuts in (("cut_rows", choice.across), ("cut_columns", choice.along)):
            if cuts:
                entry[key] = list(cuts)
        found.append(entry)
        start += choice.count
    return found


def choices_of(schedule: Any, nodes: Sequence[Node], at: str) -> tuple[Choice, ...]:
    """The choices of a schedule for these nodes. Raises ``InvalidInput`` naming ``at`` and what
    is wrong: an entry of the wrong form, layers that are not the model's or in another order."""
    if not isinstance(schedule, list):
        raise InvalidInput("has no schedule, a list of segments", at=at)
    found = []
    start = 0
    for place, entry in enumerate(schedule):
        where = f"segment {place} of the schedule"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("layers"), list):
            raise InvalidInput(f"{where} names no layers", at=at)
        unknown = set(entry) - {"layers", "rows", "lazy", "fed", "cut_rows", "cut_columns"}
        if unknown:
            raise InvalidInput(f"{where} has an unknown key '{min(map(str, unknown))}'", at=at)
        names = entry["layers"]
        for offset, name in enumerate(names):
            if start + offset >= len(nodes):
                raise InvalidInput(f"{where} goes beyond the model's {len(nodes)} layers", at=at)
            wanted = nodes[start + offset].name
            if name != wanted:
                raise InvalidInput(
                    f"{where} has layer {name!r} where the model has {wanted!r}", at=at
                )
        choice = Choice(
            len(names),
            _count(entry.get("rows", 0), f"rows of {where}", at),
            _count(entry.get("lazy", 0), f"lazy of {where}", at, LAZIEST),
            _cuts(entry.get("cut_rows", []), where, at),
            _cuts(entry.get("cut_columns", []), where, at),
            _flag(entry.get("fed", False), f"fed of {where}", at),
        )
        if not names or (choice.rows == 0 and (len(names) > 1 or choice.tiled)):
            raise InvalidInput(f"{where} needs rows > 0, or a single layer and no cuts", at=at)
        found.append(choice)
        start += len(names)
    if start != len(nodes):
        raise InvalidInput(f"the schedule ends before layer {nodes[start].name!r}", at=at)
    return tuple(found)


def _count(value: Any, what: str, at: str, most: int = MOST) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InvalidInput(f"{what}: {value!r} is no whole number from 0 to {most}", at=at)
    return value


def _flag(value: Any, what: str, at: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{what}: {value!r} is neither true nor false", at=at)
    return value


def _cuts(value: Any, where: str, at: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise InvalidInput(f"the cuts of {where} are no list", at=at)
    return tuple(_count(item, f"a cut of {where}", at) for item in value)
