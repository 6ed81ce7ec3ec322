"""How a model is compiled and measured: what several calls take, as one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..boards import Board
from ..deploy import BoardLink, check_link, plan_flash
from ..errors import InvalidInput, TinymillError
from ..schedule import Optimize

Io = Literal["quantized", "float"]
Requant = Literal["exact", "fixed"]
Weights = Literal["flash", "ram"]
Shapes = Mapping[str, Sequence[int]]
Source = str | Path | np.ndarray
LONGEST = 1e6
"""Seconds that a run can be given; the system's own timers end not far beyond."""


@dataclass(frozen=True)
class CompileOptions:
    """The options of ``compile``, which explains them."""

    io: Io = "quantized"
    requant: Requant = "exact"
    optimize: Optimize = "time"
    plan: str | Path = "min-time"
    ram: int | None = None
    shapes: Shapes | None = None
    keep_inputs: bool = False
    stream_input: bool = False
    fast_ram: int | None = None
    weights: Weights = "flash"
    step: int | None = None
    frontend: str | Path | None = None
    drop_softmax: bool = False

    def check(self) -> None:
        """Raises ``InvalidInput`` for a value that no model can be compiled with."""
        self.check_choices()
        if not isinstance(self.plan, str | Path):
            raise InvalidInput(f"plan is {self.plan!r}, neither a name nor a path")
        for option, least in (("ram", 1), ("fast_ram", 0), ("step", 1)):
            number = getattr(self, option)
            if number is None:
                continue
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise InvalidInput(f"{option} is {number!r}, not a whole number from {least} on")

    def check_choices(self) -> None:
        """Raises ``InvalidInput`` where one word of several is another one."""
        for option, allowed in (
            ("io", Io), ("requant", Requant), ("optimize", Optimize), ("weights", Weights),
        ):  # fmt: skip
            value, words = getattr(self, option), get_args(allowed)
            if value not in words:
                raise InvalidInput(f"{option} is {value!r}, not one of {', '.join(words)}")

    def check_kept(self) -> None:
        """Raises ``InvalidInput`` where an input is to be kept that is never there whole."""
        if self.stream_input and self.keep_inputs:
            raise InvalidInput(
                "an input that comes row by row is never held whole, so it can't be kept",
                hint="leave out --keep-inputs or --stream-input",
            )


@dataclass(frozen=True)
class Wanted:
    """What is said of a model that may be compiled already; None and False say nothing.

    A model file takes the defaults of ``compile`` for the rest, a project folder has its own.
    """

    io: Io | None = None
    requant: Requant | None = None
    optimize: Optimize | None = None
    plan: str | Path | None = None
    ram: int | None = None
    shapes: Shapes | None = None
    keep_inputs: bool = False
    stream_input: bool = False
    fast_ram: int | None = None
    weights: Weights | None = None
    step: int | None = None
    frontend: str | Path | None = None
    drop_softmax: bool = False

    def options(self) -> CompileOptions:
        """For a model file; an empty word says nothing either."""
        defaults = {field.name: field.default for field in fields(CompileOptions)}
        said: dict[str, Any] = {
            name: value or defaults[name] if isinstance(defaults[name], str) else value
            for name, value in vars(self).items()
        }
        return CompileOptions(**said)


@dataclass(frozen=True)
class Reached:
    """How a real board is reached: the options of ``run`` that ask for one."""

    port: str
    wire: str = "uart"
    flash: bool = False
    tool: str | None = None
    probe: str | None = None
    tell: Callable[[str], None] | None = None

    @classmethod
    def of(
        cls,
        port: str | None,
        wire: str | None,
        flash: bool,
        tool: str | None,
        probe: str | None,
        tell: Callable[[str], None] | None,
    ) -> Reached | None:
        """None where no board is asked for; ``InvalidInput`` for options that need one."""
        if port is not None:
            if not port.strip():
                raise InvalidInput("the port has no name")
            return cls(port, wire or "uart", flash, tool, probe, tell)
        for option, said in (
            ("--flash", flash), ("--wire", wire), ("--tool", tool), ("--probe", probe),
        ):  # fmt: skip
            if said:
                raise InvalidInput(
                    f"{option} is for a run on a real board", hint="--port says where it answers"
                )
        return None

    def link(self, board: Board) -> BoardLink:
        """As ``measure_on_board`` takes it. Raises ``BoardError``, ``InvalidInput``."""
        check_link(board, self.wire, flashes=self.flash)
        if not self.flash:
            if self.tool or self.probe:
                raise InvalidInput("--tool and --probe write the board", hint="add --flash")
            return BoardLink(self.port, self.wire)
        plan = plan_flash(board, self.tool, self.probe)
        if self.tell is not None and plan.note is not None:
            self.tell(f"{board.name}: {plan.note}")
        return BoardLink(self.port, self.wire, plan)


@dataclass(frozen=True)
class Measuring:
    """How a run is built and fed: the options of ``run``, which explains them."""

    cc: str | None = None
    sanitize: bool = False
    mean: float | None = None
    std: float | None = None
    resize: bool = False
    timeout: float = 600.0
    reached: Reached | None = None

    def check(self) -> None:
        """Raises ``TinymillError`` for a time that can't be waited, ``InvalidInput`` for what no
        real board has."""
        if self.reached is not None and self.sanitize:
            raise InvalidInput("a board has no sanitizers", hint="they run on the host only")
        if not 0 < self.timeout <= LONGEST:
            raise TinymillError(
                f"a timeout of {self.timeout:g} s", hint=f"up to {LONGEST:g} s are possible"
            )


def sources_of(given: Sequence[Source] | Source) -> list[Source]:
    """One source or several, one for each input of a model, as a list."""
    return [given] if isinstance(given, str | Path | np.ndarray) else list(given)
