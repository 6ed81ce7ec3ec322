"""A board as frozen facts, read strictly from its TOML file.

Sizes are bytes, addresses are what the core sees, clocks are hertz. Everything wrong with a
file is one ``BoardError`` of one line that names the file and the key.
"""

from __future__ import annotations

import os
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

UARTS = ("16550", "cmsdk", "esp", "lpuart", "nrf", "pl011", "stm32_v1", "stm32_v2")
"""Families of UARTs: runtime_c/target/uart_<family>.c drives each."""

CYCLES = ("dwt", "systick", "mcycle", "esp")
"""Cycle counters: Cortex-M's DWT and SysTick, RISC-V's own, that of Espressif's RISC-V cores.
Firmware takes SysTick where the DWT's stands still."""

SETUP_STEPS = ("set", "wait")

FLASH_TOOLS: dict[str, dict[str, str]] = {
    "bossac": {},
    "dfu-util": {"device": "string"},
    "esptool": {"chip": "string"},
    "gdb": {"remote": "string", "before": "strings", "after": "strings"},
    "openocd": {"config": "strings"},
    "picotool": {},
    "pyocd": {"target": "string"},
    "st-flash": {},
    "teensy_loader_cli": {"mcu": "string"},
}
"""Tools that write a board's flash and the options a board file gives each."""

BOARDS_VARIABLE = "TINYMILL_BOARDS"
"""Environment variable naming a folder of the user's own boards."""

_REGION_NAME = re.compile(r"[a-z][a-z0-9_]*")
_BOARD_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_SOURCE_NAME = re.compile(r"boot_[a-z0-9_]+\.S")


@dataclass(frozen=True)
class Region:
    """A contiguous block of the board's memory."""

    name: str
    kind: str
    """"flash" (kept without power, or playing that part in a simulator) or "ram"."""
    address: int
    size: int
    data_address: int | None = None
    """Where loads see the region, if not where instructions are fetched from it."""

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
class SetupStep:
    """One step of a board's set-up, on a 32-bit register.

    "set" writes (old & ~mask) | value, and does not read first where the mask is all ones;
    "wait" waits until (register & mask) == value.
    """

    kind: str
    address: int
    mask: int
    value: int


@dataclass(frozen=True)
class Firmware:
    """How the board's own firmware speaks to the world: one UART, and what it needs first."""

    uart: str
    base: int
    clock_hz: int
    """Of the UART, as the set-up leaves it."""
    baud: int
    core_hz: int
    """Of the core, as start-up and set-up leave it; 0 where a bootloader's clocks stay."""
    cycles: str | None
    """The counter that times an inference, where the core has one."""
    setup: tuple[SetupStep, ...]


@dataclass(frozen=True)
class BootBlock:
    """Bytes that the chip's boot ROM looks for, at ``offset`` from the first flash region's start.

    They are 32-bit ``words`` (numbers, or "vectors", "image_bytes", "block.NAME" for addresses and
    sizes that the linker knows), or the section ``.tm_boot.<name>`` of an assembly ``source``.
    """

    name: str
    offset: int
    words: tuple[int | str, ...]
    source: Path | None


@dataclass(frozen=True)
class Boot:
    """What stands at the start of the image: boot blocks and, at ``vectors`` (an offset), the
    vector table or, on RISC-V, the first instruction."""

    vectors: int
    blocks: tuple[BootBlock, ...]


@dataclass(frozen=True)
class FlashTool:
    """A tool that can write the board, with what the board file says about it."""

    name: str
    options: tuple[tuple[str, str | tuple[str, ...]], ...]

    def option(self, name: str) -> str | tuple[str, ...]:
        """The value of an option that ``FLASH_TOOLS`` lists for this tool."""
        return dict(self.options)[name]


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
    firmware: Firmware | None = None
    boot: Boot | None = None
    flash_tools: tuple[FlashTool, ...] = ()
    """The one that is taken unasked comes first."""
    flash_note: str | None = None
    """What a person has to do before the first tool can write."""

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


def _own_boards() -> Path | None:
    """The folder of the user's boards, if there is one; else ``BoardError`` or None."""
    text = os.environ.get(BOARDS_VARIABLE)
    if not text:
        return None
    if not Path(text).is_dir():
        raise BoardError("is no folder", at=f"{BOARDS_VARIABLE}={text}")
    return Path(text)


def board_paths() -> dict[str, Path]:
    """Name -> file of all boards: those that tinymill brings, and those in the folder that
    ``TINYMILL_BOARDS`` names, which win; ``host`` first, the others sorted."""
    found = {path.stem: path for path in share("boards").glob("*.toml")}
    own = _own_boards()
    if own is not None:
        found |= {path.stem: path for path in own.glob("*.toml")}
    return {name: found[name] for name in sorted(found, key=lambda name: (name != "host", name))}


def list_boards() -> tuple[str, ...]:
    """Names of ``board_paths``."""
    return tuple(board_paths())


def load_board(name_or_path: str | Path) -> Board:
    """The board of that name, or the one in that ``.toml`` file; else ``BoardError``."""
    text = str(name_or_path)
    if text.endswith(".toml"):
        path = Path(text)
    else:
        paths = board_paths()
        if text not in paths:
            raise BoardError(f"there is no board {text!r}", hint=f"known: {', '.join(paths)}")
        path = paths[text]
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
    board = _board(_Table(table, where, ""), path.parent)
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


def _board(table: _Table, folder: Path) -> Board:
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
    firmware = None
    if "firmware" in table.table:
        firmware = _firmware(table.sub("firmware"), clock_hz or 0)
    boot = _boot(table.sub("boot"), folder) if "boot" in table.table else None
    flash_tools: tuple[FlashTool, ...] = ()
    flash_note = None
    if "flash" in table.table:
        flash = table.sub("flash")
        flash_note = flash.string("note") if "note" in flash.table else None
        flash_tools = _flash_tools(flash)
    regions = tuple(_region(each) for each in table.tables("region"))
    table.end()
    if host and (simulator or timer or firmware or boot or flash_tools or regions):
        raise BoardError("the host has no simulator, timer, firmware or regions", at=table.where)
    if not host:
        for kind in KINDS:
            if not any(region.kind == kind for region in regions):
                raise BoardError(f"has no region of kind {kind}", at=table.where)
        _check_regions(regions, table.where)
        if simulator is None and firmware is None:
            raise BoardError("needs [firmware], [simulator] or both", at=table.where)
    return Board(
        name, title, core, features, clock_hz, compiler, simulator, timer, regions,
        firmware, boot, flash_tools, flash_note,
    )  # fmt: skip


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


def _firmware(table: _Table, clock_hz: int) -> Firmware:
    firmware = Firmware(
        uart=table.string("uart", UARTS),
        base=table.integer("base", 0, ADDRESS_END - 4),
        clock_hz=table.integer("clock_hz", 1, ADDRESS_END - 1),
        baud=table.integer("baud", 300, 10**8),
        core_hz=table.integer("core_hz", 0, 10**10) if "core_hz" in table.table else clock_hz,
        cycles=table.string("cycles", CYCLES) if "cycles" in table.table else None,
        setup=_setup(table),
    )
    table.end()
    if firmware.clock_hz // firmware.baud == 0:
        raise table.fail("baud", "is more than the UART's clock")
    return firmware


def _setup(table: _Table) -> tuple[SetupStep, ...]:
    entries = table.take("setup")
    problem = 'must hold steps ["set" or "wait", address, mask, value]'
    if not isinstance(entries, list):
        raise table.fail("setup", problem)
    steps = []
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 4 or entry[0] not in SETUP_STEPS:
            raise table.fail("setup", problem)
        address, mask, value = (
            table.check("setup", part, 0, ADDRESS_END - 1) for part in entry[1:]
        )
        if address % 4:
            raise table.fail("setup", f"has {address:#x}, which is no word's address")
        if value & ~mask:
            raise table.fail("setup", f"has the value {value:#x} outside its mask {mask:#x}")
        steps.append(SetupStep(entry[0], address, mask, value))
    return tuple(steps)


def _boot(table: _Table, folder: Path) -> Boot:
    vectors = table.integer("vectors", 0, 1 << 20)
    blocks = tuple(_block(each, folder) for each in table.tables("block"))
    table.end()
    names = [block.name for block in blocks]
    for block in blocks:
        if names.count(block.name) > 1:
            raise BoardError(f"has two boot blocks named {block.name}", at=table.where)
        for word in block.words:
            if isinstance(word, str) and not (
                word in ("vectors", "image_bytes") or word.removeprefix("block.") in names
            ):
                raise BoardError(
                    f"boot block {block.name} has {word!r}, which the linker doesn't know",
                    at=table.where,
                    hint="vectors, image_bytes or block.NAME",
                )
    return Boot(vectors, blocks)


def _block(table: _Table, folder: Path) -> BootBlock:
    name = table.string("name")
    if not _REGION_NAME.fullmatch(name):
        raise table.fail("name", f"is {name!r}: lower-case letters, digits and _ only")
    offset = table.integer("offset", 0, 1 << 20)
    words: tuple[int | str, ...] = ()
    source = None
    if "source" in table.table:
        text = table.string("source")
        if not _SOURCE_NAME.fullmatch(text):
            raise table.fail("source", f"is {text!r}, not boot_....S")
        paths = (folder / text, share("runtime_c") / "target" / text)
        source = next((path for path in paths if path.is_file()), None)
        if source is None:
            raise table.fail("source", f"is {text!r}, and there is no such file")
    else:
        value = table.take("words")
        if not isinstance(value, list) or not value:
            raise table.fail("words", "must be a list of integers and names")
        words = tuple(
            word if isinstance(word, str) else table.check("words", word, 0, ADDRESS_END - 1)
            for word in value
        )
    table.end()
    if offset % 4:
        raise table.fail("offset", "must be a multiple of 4")
    return BootBlock(name, offset, words, source)


def _flash_tools(table: _Table) -> tuple[FlashTool, ...]:
    first = table.string("tool", tuple(FLASH_TOOLS))
    found = []
    for name in sorted(FLASH_TOOLS, key=lambda name: (name != first, name)):
        if name not in table.table:
            continue
        inner = table.sub(name)
        options = tuple(
            (key, inner.strings(key) if kind == "strings" else inner.string(key))
            for key, kind in FLASH_TOOLS[name].items()
        )
        inner.end()
        found.append(FlashTool(name, options))
    table.end()
    if not found or found[0].name != first:
        raise table.fail(first, "is missing")
    return tuple(found)


def _region(table: _Table) -> Region:
    region = Region(
        name=table.string("name"),
        kind=table.string("kind", KINDS),
        address=table.integer("address", 0, ADDRESS_END - 1),
        size=table.integer("size", 1024, ADDRESS_END),
        data_address=(
            table.integer("data_address", 0, ADDRESS_END - 1)
            if "data_address" in table.table
            else None
        ),
    )
    table.end()
    if not _REGION_NAME.fullmatch(region.name):
        raise table.fail("name", f"is {region.name!r}: lower-case letters, digits and _ only")
    if region.address % 16 or region.size % 16:
        raise table.fail("size", "and address must be multiples of 16")
    if region.end > ADDRESS_END:
        raise table.fail("size", "reaches beyond the 32-bit address space")
    if region.data_address is not None and region.data_address % 16:
        raise table.fail("data_address", "must be a multiple of 16")
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
