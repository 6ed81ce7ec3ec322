"""How a model is compiled and measured: what several calls take, as one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

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

    def options(self) -> CompileOptions:
        """For a model file; an empty word says nothing either."""
        defaults = {field.name: field.default for field in fields(CompileOptions)}
        said: dict[str, Any] = {
            name: value or defaults[name] if isinstance(defaults[name], str) else value
            for name, value in vars(self).items()
        }
        return CompileOptions(**said)


@dataclass(frozen=True)
class Measuring:
    """How a run is built and fed: the options of ``run``, which explains them."""

    cc: str | None = None
    sanitize: bool = False
    mean: float | None = None
    std: float | None = None
    resize: bool = False
    timeout: float = 600.0

    def check(self) -> None:
        """Raises ``TinymillError`` for a time that can't be waited."""
        if not 0 < self.timeout <= LONGEST:
            raise TinymillError(
                f"a timeout of {self.timeout:g} s", hint=f"up to {LONGEST:g} s are possible"
            )


def sources_of(given: Sequence[Source] | Source) -> list[Source]:
    """One source or several, one for each input of a model, as a list."""
    return [given] if isinstance(given, str | Path | np.ndarray) else list(given)
