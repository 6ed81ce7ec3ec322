"""What a report is about: a plan on a board, with all that compiler and simulator tell of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..boards import Board
from ..emit import ModelFacts
from ..errors import OutOfMemory
from ..schedule import Plan, schedule_of
from .arena import Arena, arena_of
from .figures import marks_of
from .flash import Piece, Symbol, pieces_of
from .layers import Constant, Layer, constants_of, layers_of
from .quantization import Errors


@dataclass(frozen=True)
class Code:
    """What the board's compiler tells: bytes of ``code`` with its constants, ``symbols`` in it,
    bytes of ``stack`` below the caller (None: not known). ``linked`` where the whole program was
    linked; else it was compiled without its weights."""

    code: int
    stack: int | None
    symbols: tuple[Symbol, ...] = ()
    linked: bool = False


@dataclass(frozen=True)
class Measured:
    """What a run in the simulator gave. ``cycles`` are an estimate, None on most cores."""

    simulator: str
    instructions: int
    layers: tuple[int, ...] | None
    stack: int | None
    static: int
    cycles: int | None


@dataclass(frozen=True)
class Memory:
    """A memory of the board, or with ``size`` None one without end, and what it holds."""

    name: str
    kind: str
    size: int | None
    parts: tuple[tuple[str, int], ...]

    @property
    def used(self) -> int:
        return sum(count for _, count in self.parts)

    @property
    def share(self) -> float | None:
        """The part of it that is used."""
        return None if self.size is None else self.used / max(self.size, 1)


@dataclass(frozen=True)
class Alternative:
    """A plan of the front. ``command`` compiles the model that way, by a ``goal`` where one gives
    this plan, else by a saved plan's ``file`` that holds this ``schedule``."""

    arena: int
    instructions: int
    mark: str
    current: bool
    command: str
    goal: str | None
    file: str | None
    schedule: list[dict[str, Any]] | None


@dataclass(frozen=True)
class Subject:
    """``options`` are the words of a command line that led to the graph, ``chosen`` those that led
    to the plan. ``context`` are the bytes of RAM that are kept between runs, beside the arena.
    ``places`` says which memory of the board has the code, the weights, the arena, its slow part
    and the rest of RAM; empty on the host."""

    model: str
    name: str
    board: Board
    plan: Plan
    facts: ModelFacts
    context: int
    options: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ("--plan", "min-time")
    front: tuple[Plan, ...] = ()
    code: Code | None = None
    no_code: str = ""
    """Why there is no ``code``."""
    measured: Measured | None = None
    errors: Errors | None = None
    weights_in_ram: bool = False
    places: Mapping[str, str] = field(default_factory=dict)
    io: str = "quantized"
    optimize: str = "time"
    goals: Mapping[str, Plan] = field(default_factory=dict)
    """Plans that goals give, by goal; of the front's those have no need of a file."""
    refusal: OutOfMemory | None = None
    """Why ``compile`` refuses this plan on this board."""

    @cached_property
    def constants(self) -> tuple[Constant, ...]:
        return constants_of(self.plan, self.facts)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return layers_of(self.plan, self.constants)

    @cached_property
    def arena(self) -> Arena:
        return arena_of(self.plan)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        code = self.code
        return pieces_of(
            self.facts, self.layers, self.constants, None if code is None else code.code,
            () if code is None else code.symbols,
        )  # fmt: skip

    @property
    def counted(self) -> tuple[int, ...] | None:
        """Exact instructions of each layer, where they were counted."""
        measured = self.measured
        if measured is None or measured.layers is None or len(measured.layers) != len(self.layers):
            return None
        return measured.layers

    @cached_property
    def times(self) -> tuple[int, ...]:
        """Instructions of each layer, counted where they were, else estimated."""
        return self.counted or tuple(layer.estimate for layer in self.layers)

    @property
    def instructions(self) -> int:
        """Of an inference, counted where they were, else estimated."""
        return self.plan.cost if self.measured is None else self.measured.instructions

    @property
    def stack(self) -> int | None:
        """Bytes: painted in the simulator, else the compiler's bound."""
        if self.measured is not None and self.measured.stack is not None:
            return self.measured.stack
        return None if self.code is None else self.code.stack

    @property
    def static(self) -> int:
        """Bytes of the context and of variables."""
        return self.context if self.measured is None else self.measured.static

    @property
    def seconds(self) -> float | None:
        """Of an inference: by estimated cycles where there are, else as if each instruction took
        a cycle; None without a clock."""
        if not self.board.clock_hz:
            return None
        measured = self.measured
        cycles = None if measured is None else measured.cycles
        return (self.instructions if cycles is None else cycles) / self.board.clock_hz

    @cached_property
    def memories(self) -> tuple[Memory, ...]:
        """The memories that hold something, RAM first."""
        plan, weights = self.plan, self.facts.weights_bytes
        parts: list[tuple[str, str, str, int]] = [
            ("arena", "ram", "arena", plan.arena_bytes - plan.slow_bytes),
            ("slow", "ram", "slow arena", plan.slow_bytes),
            ("ram", "ram", "context", self.static),
            ("ram", "ram", "stack", self.stack or 0),
            ("ram", "ram", "weights", weights if self.weights_in_ram else 0),
            ("weights", "flash", "weights", weights),
            ("code", "flash", "code", 0 if self.code is None else self.code.code),
        ]
        if self.board.is_host:
            return tuple(
                Memory(title, kind, None, tuple((n, c) for _, k, n, c in parts if k == kind and c))
                for kind, title in (("ram", "RAM"), ("flash", "flash"))
            )
        found = []
        for kind in ("ram", "flash"):
            for region in self.board.regions:
                if region.kind != kind:
                    continue
                held = tuple(
                    (name, count)
                    for place, its, name, count in parts
                    if its == kind and count and self.places.get(place) == region.name
                )
                if held:
                    found.append(Memory(region.name, kind, region.size, held))
        return tuple(found)

    def used(self, kind: str) -> int:
        """Bytes of all RAM or flash."""
        return sum(memory.used for memory in self.memories if memory.kind == kind)

    def available(self, kind: str) -> int | None:
        """Bytes of all RAM or flash that the board has; None on the host."""
        if self.board.is_host:
            return None
        return sum(region.size for region in self.board.regions if region.kind == kind)

    @property
    def missing(self) -> tuple[Memory, ...]:
        """Memories that hold more than they have."""
        return tuple(m for m in self.memories if m.size is not None and m.used > m.size)

    def command(self, *words: str) -> str:
        """The command line that compiles the model with these words for its plan."""
        line = ["tinymill", "compile", self.model, "--target", self.board.name, *self.options]
        return shlex.join([*line, *words, "--output", f"{self.name}_c"])

    @cached_property
    def alternatives(self) -> tuple[Alternative, ...]:
        """The front, the fastest first."""
        found = []
        if not self.front:
            return ()
        for index, (plan, marks) in enumerate(zip(self.front, marks_of(self.front), strict=True)):
            goal = next((g for g, other in self.goals.items() if _same(plan, other)), None)
            file = f"{self.name}-plan-{index}.json"
            found.append(
                Alternative(
                    plan.arena_bytes, plan.cost, marks, _same(plan, self.plan),
                    self.command("--plan", file if goal is None else goal),
                    goal,
                    file if goal is None else None,
                    None if goal is not None else
                    schedule_of(plan.choices, [step.node for step in plan.layers]),
                )
            )  # fmt: skip
        return tuple(found)


def _same(plan: Plan, other: Plan) -> bool:
    """Whether two plans of a graph compute the same segments in the same places."""
    return plan.choices == other.choices and plan.arena_bytes == other.arena_bytes
