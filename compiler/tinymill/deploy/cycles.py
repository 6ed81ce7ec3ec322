"""Estimates cycles: a plugin of ours in QEMU counts what runs, published costs price it.

The count is exact (it must equal the harness's own); the price is a model of the core
(``pipelines.py``). Nothing of this happens in a run that does not ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinymill.boards import Board, Simulator, load_board
from tinymill.deploy import toolchain
from tinymill.deploy.pipelines import KINDS, PIPELINES, Instruction, Run
from tinymill.deploy.process import Halt, last_words, run_process
from tinymill.errors import BoardError, ToolFailed, ToolMissing
from tinymill.share import share

SOURCE = "qemu/blocks.c"
"""The plugin, in runtime_c."""
PLUGIN = "blocks.so"
COUNTS = "blocks.txt"
COUNT_BYTES = 8
"""Of the harness's count of a layer."""
OBJDUMP = "arm-none-eabi-objdump"
TIMEOUT = 120.0

_LINE = re.compile(
    r"^ *([0-9a-f]+):\t([0-9a-f]{4}(?: [0-9a-f]{4})?) *\t([^\t]+)(?:\t([^;@]*))?", re.ASCII
)
_SYMBOL = re.compile(r"^([0-9a-f]+) <([^>]+)>:$")
_SECTION = re.compile(r"^Disassembly of section ([^:]+):$")
_COUNTS = re.compile(r"^([0-9a-f]+) .*\t([0-9a-f]+) tm_layer_counts$")
_HARNESS = ".tm_harness_text"


@dataclass(frozen=True)
class Estimate:
    """Cycles of the first inference, estimated; ``layers`` has those of each layer, where the
    program has hooks. ``instructions`` counts what was executed, ``classes`` of which kinds."""

    cycles: int
    layers: tuple[int, ...]
    instructions: int
    classes: Mapping[str, int]


@dataclass(frozen=True)
class Listing:
    """A program's code: what stands at each address, and where the names are; ``counts``: first
    address of the harness's counts of layers, and the first behind it (two zeros: no counts)."""

    code: Mapping[int, Instruction]
    symbols: Mapping[str, int]
    harness: tuple[int, int]
    """First address of the harness's code, and the first behind it."""
    counts: tuple[int, int] = (0, 0)

    def behind_the_call(self) -> int:
        """The address to which the model's run returns in ``tm_call_on_stack``."""
        address = self.symbols["tm_call_on_stack"]
        while address in self.code:
            instruction = self.code[address]
            if instruction.name == "blx":
                return instruction.end
            address = instruction.end
        raise KeyError("blx")


def check(board: Board) -> None:
    """Raises ``BoardError`` where no cycles can be estimated."""
    if board.core not in PIPELINES or board.simulator is None:
        known = " and ".join(pipeline.title for pipeline in PIPELINES.values())
        raise BoardError(f"{board.name} has no cycle estimate", hint=f"it is there for {known}")


def compile_plugin(simulator: Simulator, folder: Path, halt: Halt) -> Path:
    """The plugin, built in ``folder`` with the host's compiler.

    Raises ``ToolMissing`` where there is no compiler, or none that can build it.
    """
    command = toolchain.compiler(load_board("host"))
    plugin = folder / PLUGIN
    version = _interface(simulator, folder, halt)
    argv = plugin_argv(command, share("runtime_c") / SOURCE, plugin, version)
    ended = run_process(argv, folder, timeout=TIMEOUT, halt=halt)
    if ended.code != 0:
        raise ToolMissing(
            f"a compiler that can build QEMU plugins ({command[0]} says: {last_words(ended.text)})",
            install=toolchain.INSTALL["cc"],
        )
    return plugin


def plugin_argv(
    command: tuple[str, ...], source: Path, plugin: Path, version: int
) -> tuple[str, ...]:
    """The call that builds the plugin for a version of QEMU's interface."""
    flags = ("-std=c11", "-O2", "-fPIC", "-shared", f"-DTM_PLUGIN_VERSION={version}")
    return (*command, *flags, "-o", str(plugin), str(source))


def _interface(simulator: Simulator, folder: Path, halt: Halt) -> int:
    """The version of the plugin interface to ask for: QEMU 9 no longer takes the first."""
    program = toolchain.require(simulator.program)
    said = run_process((program, "--version"), folder, timeout=TIMEOUT, halt=halt).text
    major = re.search(r"version (\d+)", said)
    return 2 if major is not None and int(major[1]) >= 9 else 1


def list_program(program: Path, halt: Halt) -> Listing:
    """The disassembly of ``program``."""
    toolchain.require(OBJDUMP)
    ended = run_process(
        (OBJDUMP, "-d", "-t", "-w", program.name), program.parent, timeout=TIMEOUT, halt=halt
    )
    if ended.code != 0:
        raise ToolFailed(f"{OBJDUMP} fails: {last_words(ended.text)}")
    return read_listing(ended.text)


def read_listing(text: str) -> Listing:
    """What objdump -d -t -w prints, as a ``Listing``."""
    code: dict[int, Instruction] = {}
    symbols: dict[str, int] = {}
    harness: list[int] = []
    counts = 0, 0
    section = ""
    for line in text.splitlines():
        found = _LINE.match(line)
        if found:
            size = len(found[2].replace(" ", "")) // 2
            operands = (found[4] or "").strip()
            instruction = Instruction(int(found[1], 16), size, found[3].strip(), operands)
            code[instruction.address] = instruction
            if section == _HARNESS:
                harness += [instruction.address, instruction.end]
        elif symbol := _SYMBOL.match(line):
            symbols[symbol[2]] = int(symbol[1], 16)
        elif variable := _COUNTS.match(line):
            counts = int(variable[1], 16), int(variable[1], 16) + int(variable[2], 16)
        elif heading := _SECTION.match(line):
            section = heading[1]
    return Listing(code, symbols, (min(harness, default=0), max(harness, default=0)), counts)


def plugin_option(listing: Listing, model: str, plugin: str) -> tuple[str, str]:
    """The arguments of QEMU that count the first inference; ``plugin`` is its path."""
    start = listing.symbols.get("push_row")
    try:
        start = listing.symbols[f"{model}_run"] if start is None else start
        stop = listing.behind_the_call()
        over = listing.symbols["tm_measure_end_frame"]
    except KeyError as missing:
        raise ToolFailed(f"the program has no {missing.args[0]}") from None
    low, high = listing.harness
    facts = {"start": start, "stop": stop, "over": over, "skip_low": low, "skip_high": high}
    if listing.counts[1]:
        facts["layers_low"], facts["layers_high"] = listing.counts
    words = [f"{name}={address:x}" for name, address in facts.items()]
    return "-plugin", ",".join([f"file={plugin}", *words, f"out={COUNTS}"])


@dataclass(frozen=True)
class Count:
    """One line of the plugin: a block of ``instructions``, and what ``pipelines.Run`` says."""

    layer: int
    start: int
    instructions: int
    executed: int
    jumps: int
    penalty: int


def read_counts(path: Path) -> list[Count]:
    """The lines that the plugin wrote."""
    lines = path.read_text().splitlines() if path.is_file() else []
    if not lines or lines[-1] != "end":
        raise ToolFailed("the plugin in QEMU saw no end of the inference")
    rows = []
    for line in lines[:-1]:
        layer, start, *rest = line.split()
        rows.append(Count(int(layer), int(start, 16), *map(int, rest)))
    return rows


def estimate(rows: Sequence[Count], listing: Listing, core: str) -> Estimate:
    """Prices what the plugin counted on ``core``."""
    pipeline = PIPELINES[core]
    low, high = listing.counts
    layers = [0] * ((high - low) // COUNT_BYTES + 1)
    classes = dict.fromkeys(KINDS, 0)
    instructions = 0
    for row in rows:
        code: list[Instruction] = []
        address = row.start
        while len(code) < row.instructions:
            if address not in listing.code:
                raise ToolFailed(f"code at {address:#x} ran that {OBJDUMP} does not show")
            code.append(listing.code[address])
            classes[code[-1].kind] += row.executed
            address = code[-1].end
        instructions += len(code) * row.executed
        run = Run(code, row.executed, row.jumps, row.penalty)
        layers[row.layer] += pipeline.cycles(run, listing.code)
    return Estimate(
        sum(layers), tuple(layers[:-1]), instructions, {k: n for k, n in classes.items() if n}
    )
