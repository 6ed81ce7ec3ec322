"""Where the maps lie: kept from run to run, or in scratch and computed whole in every run."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OutOfMemory
from .program import ALIGN, Program, Value

FLOAT = 4


@dataclass(frozen=True)
class Store:
    """Memory of a root value: "kept", "scratch" or "constant", and where, in floats."""

    kind: str
    place: int
    floats: int


@dataclass(frozen=True)
class Memory:
    """Stores by the id of their root value; floats of the two blocks."""

    stores: dict[int, Store]
    kept: int
    scratch: int

    @property
    def bytes(self) -> int:
        return FLOAT * (self.kept + self.scratch)


def placed(program: Program, limit: int | None) -> Memory:
    """Places for all maps, in at most ``limit`` bytes.

    What is recomputed first is what costs least time for its bytes. Raises ``OutOfMemory`` where
    not even everything recomputed fits.
    """
    roots = {id(value.root): value.root for value in program.values}
    sizes = {key: _floats(root, program.images) for key, root in roots.items()}
    kept = {key for key, root in roots.items() if root.kind != "constant"}
    memory = _layout(program, roots, sizes, kept)
    if limit is None or memory.bytes <= limit:
        return memory
    least = memory
    for key in _cheapest_first(program, roots, sizes):
        kept.discard(key)
        memory = _layout(program, roots, sizes, kept)
        if memory.bytes <= limit:
            return memory
        least = min(least, memory, key=lambda each: each.bytes)
    raise OutOfMemory(
        "cache of activations", needed=least.bytes, available=limit, at=program.name,
        hint="this much is needed where all layers that can be are computed whole",
    )  # fmt: skip


def _floats(root: Value, images: int) -> int:
    count = root.pixels * root.channels * (1 if root.shared else images)
    return -(-count // ALIGN) * ALIGN


def _cheapest_first(program: Program, roots: dict[int, Value], sizes: dict[int, int]) -> list[int]:
    pinned = {id(value.root) for value in program.values if id(value) in program.pinned}
    pinned |= program.pinned
    costs = dict.fromkeys(roots, 0.0)
    for step in program.steps:
        if step.output is not None:
            pixels = step.output.pixels * program.images
            costs[id(step.output.root)] += pixels * (step.macs + 16.0 * step.output.channels)
    written = {id(step.output.root) for step in program.steps if step.output is not None}
    free = [key for key in roots if key in written and key not in pinned]
    return sorted(free, key=lambda key: costs[key] / sizes[key])


def _layout(
    program: Program, roots: dict[int, Value], sizes: dict[int, int], kept: set[int]
) -> Memory:
    stores: dict[int, Store] = {}
    place = 0
    for key, root in roots.items():
        if root.kind == "constant":
            stores[key] = Store("constant", root.place, sizes[key])
        elif key in kept:
            stores[key] = Store("kept", place, sizes[key])
            place += sizes[key]
    # lifetimes of the others: from the first step that writes them to the last that reads them
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, step in enumerate(program.steps):
        values = [*step.reads(), *([step.output] if step.output is not None else [])]
        for value in values:
            first.setdefault(id(value.root), number)
            last[id(value.root)] = number
    scratch = 0
    taken: list[tuple[int, int, int]] = []  # last step, begin, end
    rest = [key for key in roots if key not in stores]
    for key in sorted(rest, key=lambda each: first.get(each, 0)):
        begin = first.get(key, 0)
        alive = sorted((a, b) for end, a, b in taken if end >= begin)
        at = 0
        for a, b in alive:
            if at + sizes[key] <= a:
                break
            at = max(at, b)
        taken.append((last.get(key, len(program.steps)), at, at + sizes[key]))
        stores[key] = Store("scratch", at, sizes[key])
        scratch = max(scratch, at + sizes[key])
    return Memory(stores, place, scratch)
