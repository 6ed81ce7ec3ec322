"""A board as frozen facts, read strictly from its TOML file.

Sizes are bytes, addresses are what the core sees, clocks are hertz. Everything wrong with a
file is one ``BoardError`` of one line that names the file and the key.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from pathlib import Path
from typing import Any

from tinymill.errors import BoardError
from tinymill.share import share

FAMILIES = ("host", "arm-none-eabi", "riscv64-unknown-elf")
"""Compiler families; deploy/toolchain.py knows the program of each."""

KINDS = ("flash", "ram")
DIRECTIONS = ("up", "down")
ADDRESS_END = 1 << 32

_REGION_NAME = re.compile(r"[a-z][a-z0-9_]*")
_BOARD_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class Region:
    """A contiguous block of the board's memory."""

    name: str
    kind: str
    """"flash" (kept without power, or playing that part in a simulator) or "ram"."""
    address: int
    size: int

    @property
    def end(self) -> int:
        """First address behind the region."""
        return self.address + self.size


@dataclass(frozen=True)
class Compiler:
    """How C is compiled and linked for the board."""

    family: str
    optimise: str
    flags: tuple[str, ...]
    """The core's flags, for every compile."""
    link_flags: tuple[str, ...]
    """The core's flags for the link; empty: the same as ``flags``."""


@dataclass(frozen=True)
class Simulator:
    """The QEMU machine that stands in for the board."""

    program: str
    machine: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class CoarseTimer:
    """A slow 32-bit up-counter that tells how often the fine one wrapped."""

    counter: int
    instructions_per_tick: int
    capture: tuple[int, int] | None
    """Write (address, value) that latches the count, where the timer needs one."""


@dataclass(frozen=True)
class Timer:
    """The counter that measures instructions in the simulator (1 instruction = 1 ns).

    ``instructions_per_tick`` is a reduced fraction. ``start`` are register writes
    (address, value), in order.
    """

    counter: int
    bits: int
    direction: str
    instructions_per_tick: tuple[int, int]
    start: tuple[tuple[int, int], ...]
    coarse: CoarseTimer | None


@dataclass(frozen=True)
class Board:
    """One target of the compiler."""

    name: str
    title: str
    core: str
    features: tuple[str, ...]
    """What kernels may use: "dsp", "fpu", "fpu64", "mve", "mve-fp"."""
    clock_hz: int | None
    compiler: Compiler
    simulator: Simulator | None
    timer: Timer | None
    regions: tuple[Region, ...]

    @property
    def is_host(self) -> bool:
        """Whether programs for this board run as processes of this machine."""
        return self.compiler.family == "host"

    @property
    def flash(self) -> tuple[Region, ...]:
        """Flash regions; code goes into the first."""
        return tuple(region for region in self.regions if region.kind == "flash")

    @property
    def ram(self) -> tuple[Region, ...]:
        """RAM regions; variables and the stack go into the first."""
        return tuple(region for region in self.regions if region.kind == "ram")


def list_boards() -> tuple[str, ...]:
    """Names of the boards that tinymill brings: ``host`` first, the others sorted."""
    names = sorted(path.stem for path in share("boards").glob("*.toml"))
    return tuple(sorted(names, key=lambda name: (name != "host", name)))


def load_board(name_or_path: str | Path) -> Board:
    """The board of that name, or the one in that ``.toml`` file; else ``BoardError``."""
    text = str(name_or_path)
    if text.endswith(".toml"):
        path = Path(text)
        where = path.name
    else:
        if text not in list_boards():
            raise BoardError(
                f"there is no board {text!r}", hint=f"known: {', '.join(list_boards())}"
            )
        path = share("boards") / f"{text}.toml"
        where = path.name
    try:
        table = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise BoardError("no such file", at=str(path)) from None
    except OSError as error:
        raise BoardError(f"can't be read: {error.strerror}", at=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BoardError(f"is not TOML: {error}", at=where) from None
    except RecursionError:
        raise BoardError("is not TOML: nested too deeply", at=where) from None
    board = _board(_Table(table, where, ""))
    if board.name != path.stem:
        raise BoardError(f"name is {board.name!r}, not the file's", at=where)
    return board


class _Table:
    """A TOML table whose keys are taken one by one; what is left at the end is unknown."""

    def __init__(self, table: dict[str, Any], where: str, path: str) -> None:
        self.table = dict(table)
        self.where = where
        self.path = path

    def fail(self, key: str, problem: str) -> BoardError:
        return BoardError(f"{self.path}{key} {problem}", at=self.where)

    def take(self, key: str) -> Any:
        if key not in self.table:
            raise self.fail(key, "is missing")
        return self.table.pop(key)

    def string(self, key: str, allowed: tuple[str, ...] = ()) -> str:
        value = self.take(key)
        if not isinstance(value, str) or not value:
            raise self.fail(key, "must be a string")
        if allowed and value not in allowed:
            raise self.fail(key, f"is {value!r}, not one of {', '.join(allowed)}")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        value = self.take(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fail(key, "must be a list of strings")
        return tuple(value)

    def integer(self, key: str, low: int, high: int) -> int:
        return self.check(key, self.take(key), low, high)

    def check(self, key: str, value: Any, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, "must be an integer")
        if not low <= value <= high:
            raise self.fail(key, f"is {value:#x}, not within {low:#x} to {high:#x}")
        return value

    def pair(self, key: str, value: Any) -> tuple[int, int]:
        if not isinstance(value, list) or len(value) != 2:
            raise self.fail(key, "must hold pairs of integers")
        first = self.check(key, value[0], 0, ADDRESS_END - 1)
        return first, self.check(key, value[1], 0, ADDRESS_END - 1)

    def sub(self, key: str) -> _Table:
        value = self.take(key)
        if not isinstance(value, dict):
            raise self.fail(key, "must be a table")
        return _Table(value, self.where, f"{self.path}{key}.")

    def tables(self, key: str) -> list[_Table]:
        value = self.table.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.fail(key, "must be tables, each headed [[" + key + "]]")
        return [
            _Table(item, self.where, f"{self.path}{key}[{index}].")
            for index, item in enumerate(value)
        ]

    def end(self) -> None:
        if self.table:
            raise self.fail(sorted(self.table)[0], "is unknown")


def _board(table: _Table) -> Board:
    name = table.string("name")
    if not _BOARD_NAME.fullmatch(name):
        raise table.fail("name", f"is {name!r}: lower-case letters, digits and - only")
    title = table.string("title")
    core = table.string("core")
    features = table.strings("features")
    compiler = _compiler(table.sub("compiler"))
    host = compiler.family == "host"
    clock_hz = None if host else table.integer("clock_hz", 1, 10**10)
    simulator = _simulator(table.sub("simulator")) if "simulator" in table.table else None
    timer = _timer(table.sub("timer")) if "timer" in table.table else None
    regions = tuple(_region(each) for each in table.tables("region"))
    table.end()
    if host and (simulator or timer or regions):
        raise BoardError("the host has no simulator, timer or regions", at=table.where)
    if not host:
        for kind in KINDS:
            if not any(region.kind == kind for region in regions):
                raise BoardError(f"has no region of kind {kind}", at=table.where)
        _check_regions(regions, table.where)
    return Board(name, title, core, features, clock_hz, compiler, simulator, timer, regions)


def _compiler(table: _Table) -> Compiler:
    compiler = Compiler(
        family=table.string("family", FAMILIES),
        optimise=table.string("optimise"),
        flags=table.strings("flags"),
        link_flags=table.strings("link_flags"),
    )
    table.end()
    return compiler


def _simulator(table: _Table) -> Simulator:
    simulator = Simulator(
        program=table.string("program"),
        machine=table.string("machine"),
        arguments=table.strings("arguments"),
    )
    table.end()
    return simulator


def _timer(table: _Table) -> Timer:
    counter = table.integer("counter", 0, ADDRESS_END - 4)
    bits = table.integer("bits", 16, 32)
    direction = table.string("direction", DIRECTIONS)
    num, den = table.pair("instructions_per_tick", table.take("instructions_per_tick"))
    if not 1 <= den <= num or gcd(num, den) != 1:
        raise table.fail("instructions_per_tick", "must be a reduced fraction of at least 1")
    if den & (den - 1):
        raise table.fail("instructions_per_tick", "needs a power of two as its denominator")
    if num % 7 == 0:
        raise table.fail("instructions_per_tick", "is a multiple of 7, the stride of the reads")
    writes = table.take("start")
    if not isinstance(writes, list):
        raise table.fail("start", "must hold pairs of integers")
    start = tuple(table.pair("start", write) for write in writes)
    coarse = None
    if "coarse" in table.table:
        inner = table.sub("coarse")
        coarse = CoarseTimer(
            counter=inner.integer("counter", 0, ADDRESS_END - 4),
            instructions_per_tick=inner.integer("instructions_per_tick", 1, 1 << 24),
            capture=(
                inner.pair("capture", inner.take("capture")) if "capture" in inner.table else None
            ),
        )
        inner.end()
    table.end()
    return Timer(counter, bits, direction, (num, den), start, coarse)


def _region(table: _Table) -> Region:
    region = Region(
        name=table.string("name"),
        kind=table.string("kind", KINDS),
        address=table.integer("address", 0, ADDRESS_END - 1),
        size=table.integer("size", 1024, ADDRESS_END),
    )
    table.end()
    if not _REGION_NAME.fullmatch(region.name):
        raise table.fail("name", f"is {region.name!r}: lower-case letters, digits and _ only")
    if region.address % 16 or region.size % 16:
        raise table.fail("size", "and address must be multiples of 16")
    if region.end > ADDRESS_END:
        raise table.fail("size", "reaches beyond the 32-bit address space")
    return region


def _check_regions(regions: tuple[Region, ...], where: str) -> None:
    names = [region.name for region in regions]
    for name in names:
        if names.count(name) > 1:
            raise BoardError(f"has two regions named {name}", at=where)
    ordered = sorted(regions, key=lambda region: region.address)
    for first, second in pairwise(ordered):
        if second.address < first.end:
            raise BoardError(f"regions {first.name} and {second.name} overlap", at=where)
