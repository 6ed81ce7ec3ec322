"""What a straight run of instructions costs on a Cortex-M4 and on a Cortex-M7: an estimate.

Both assume memory without wait states and no interrupts. docs/measuring.md gives the tables,
where they are published, and what they leave out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

CONDITIONS = frozenset("eq ne cs hs cc lo mi pl vs vc hi ls ge lt gt le al".split())
_REGISTER = re.compile(r"\b(?:r\d+|sp|lr|pc|ip|fp|sl|sb|s\d+|d\d+)\b")
_SAME = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12", "sp": "r13", "lr": "r14", "pc": "r15"}
_RANGE = re.compile(r"([rsd])(\d+)-[rsd](\d+)")
_MULTIPLY = re.compile(r"mul|ml[as]|smul|sml[as]|smm[lu]|smu[as]d|umul|umla|umaal")
_SIMD = re.compile(
    r"[su]xta?b16|[su]h?(?:add|sub)(?:8|16)|uq(?:add|sub)|q(?:d?(?:add|sub)|asx|sax)|pkh|sel"
    r"|usada?8|[su]h?(?:asx|sax)|[su]sat|[su]xta[bh]"
)
_LONG = re.compile(r"[su]m(?:ul|la)l|smlsld|umaal")
_ONE_SOURCE = re.compile(r"mov|mvn|[su]xt|clz|rbit|rev|[su]sat|[su]bfx|ldr|vldr|adr|mrs|vmrs")
_FLOAT_ARITHMETIC = re.compile(
    r"v(?:n?mul|add|sub|div|sqrt|n?ml[as]|fn?m[as]|cvt|abs|neg|rint|max|min)"
)


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly."""

    address: int
    size: int
    """Bytes: 2 or 4."""
    mnemonic: str
    operands: str

    @property
    def end(self) -> int:
        return self.address + self.size

    @cached_property
    def name(self) -> str:
        """The mnemonic without its width; conditions stay."""
        return self.mnemonic.removesuffix(".w").removesuffix(".n")

    @cached_property
    def kind(self) -> str:
        """Its class, one of ``KINDS``."""
        return _kind(self.name)

    @cached_property
    def conditional_branch(self) -> bool:
        return self.name.startswith("cb") or _is_conditional(self.name)

    @property
    def target(self) -> int | None:
        """Where a direct branch goes."""
        if not self.name.startswith(("b", "cb")):
            return None
        found = re.search(r"(?:^|,\s*)([0-9a-f]+)\b(?= <|$)", self.operands)
        return int(found[1], 16) if found else None

    @cached_property
    def registers_in_list(self) -> int:
        """Registers between braces."""
        if "{" not in self.operands:
            return 0
        return len(_registers(self.operands[self.operands.index("{") :]))

    @cached_property
    def address_registers(self) -> frozenset[str]:
        """Registers that make the address of a load or store."""
        if "[" in self.operands:
            start = self.operands.index("[")
            return frozenset(_registers(self.operands[start : self.operands.index("]")]))
        if "multiple" in self.kind:
            if self.name in ("push", "pop", "vpush", "vpop"):
                return frozenset({"r13"})
            return frozenset(_registers(self.operands.partition("{")[0]))
        return frozenset()

    @cached_property
    def register_offset(self) -> bool:
        """Whether the address is a sum of registers."""
        return len(self.address_registers) > 1

    @cached_property
    def updates(self) -> frozenset[str]:
        """Address registers that it moves on."""
        moved = "!" in self.operands or "], #" in self.operands
        moved = moved or self.name in ("push", "pop", "vpush", "vpop")
        return self.address_registers if moved else frozenset()

    @cached_property
    def writes(self) -> frozenset[str]:
        """Registers it changes, flags left out."""
        found = set(self.updates)
        plain = self.operands.partition("[")[0].partition("{")[0]
        if self.kind in ("store", "store multiple", "float store", "branch"):
            return frozenset(found)
        if self.registers_in_list:
            listed = self.operands[self.operands.index("{") :]
            return frozenset(found | set(_registers(listed)))
        if self.name.startswith(("cmp", "cmn", "tst", "teq", "vcmp", "nop", "it")):
            return frozenset(found)
        two = self.name.startswith("ldrd") or bool(_LONG.match(self.name))
        return frozenset(found | set(_registers(plain)[: 2 if two else 1]))

    @cached_property
    def reads(self) -> frozenset[str]:
        """Registers it needs."""
        plain = _registers(self.operands)
        if self.kind in ("load multiple", "float load multiple"):
            return self.address_registers
        if not self.writes or self.kind in ("store", "store multiple", "float store"):
            return frozenset(plain)
        if _LONG.match(self.name):
            return frozenset(plain if "mul" not in self.name else plain[2:])
        if self.name.startswith("ldrd"):
            return self.address_registers
        first = 1
        if self.name.startswith(("movt", "bfi", "bfc", "vmla", "vmls", "vfma", "vfms")):
            first = 0
        elif len(plain) <= 2 and not _ONE_SOURCE.match(self.name) and self.name[0] != "v":
            first = 0  # adds r0, #1
        return frozenset(plain[first:])


KINDS = (
    "arithmetic", "multiply", "simd", "divide", "load", "load multiple", "store",
    "store multiple", "branch", "float arithmetic", "float move", "float load",
    "float load multiple", "float store", "other",
)  # fmt: skip
"""The classes of instructions; "multiple" includes doubles, push and pop."""

LOADS = frozenset({"load", "float load"})


def _registers(text: str) -> list[str]:
    spread = _RANGE.sub(
        lambda m: ", ".join(f"{m[1]}{n}" for n in range(int(m[2]), int(m[3]) + 1)), text
    )
    return [_SAME.get(name, name) for name in _REGISTER.findall(spread)]


def _is_conditional(name: str) -> bool:
    return name[:1] == "b" and name[1:] in CONDITIONS


def _kind(name: str) -> str:
    if name.startswith("v"):
        if name.startswith(("vldm", "vpop")):
            return "float load multiple"
        if name.startswith("vldr"):
            return "float load"
        if name.startswith(("vst", "vpush")):
            return "float store"
        return "float arithmetic" if _FLOAT_ARITHMETIC.match(name) else "float move"
    if name in ("b", "bl", "blx", "bx") or _is_conditional(name):
        return "branch"
    if name.startswith(("cbz", "cbnz", "tbb", "tbh")) or re.fullmatch("blx?..|bx..", name):
        return "branch"
    if name.startswith(("ldrd", "ldm", "pop")):
        return "load multiple"
    if name.startswith("ldr"):
        return "load"
    if name.startswith(("strd", "stm", "push")):
        return "store multiple"
    if name.startswith("str"):
        return "store"
    if name.startswith(("sdiv", "udiv")):
        return "divide"
    if _MULTIPLY.match(name):
        return "multiply"
    if _SIMD.match(name):
        return "simd"
    if name.startswith((".", "<", "bkpt", "svc", "dsb", "dmb", "isb", "mrs", "msr", "cps")):
        return "other"
    return "arithmetic"


@dataclass(frozen=True)
class Run:
    """A straight run of instructions and how often it ran.

    ``jumps`` counts how often its last instruction led elsewhere than behind it, ``penalty``
    the extra transfers of its unaligned loads, over all times.
    """

    code: Sequence[Instruction]
    executed: int
    jumps: int
    penalty: int


@dataclass(frozen=True)
class Pipeline:
    """The cycle estimate of one core; ``at`` gives the instruction at an address."""

    core: str
    title: str
    cycles: Callable[[Run, Mapping[int, Instruction]], int] = field(repr=False)


# -- Cortex-M4 --------------------------------------------------------------------------------

M4_DIVIDE = 7
"""Published: 2 to 12, as the numbers are; the middle."""
M4_DIRECT = 1
"""Cycles that refill the pipeline behind a taken direct branch (published: 1 to 3); one more
where the target is a 32-bit instruction across a word."""
M4_INDIRECT = 3
"""The same where the target is in a register or in memory."""
_M4_TABLE_BRANCH = 3


def _m4(run: Run, at: Mapping[int, Instruction]) -> int:
    once = sum(
        m4_cycles(instruction, before)
        for before, instruction in zip((None, *run.code), run.code, strict=False)
    )
    last = run.code[-1]
    refill = 0
    if last.kind == "branch" or "r15" in last.writes:
        target = at.get(last.target) if last.target is not None else None
        if last.target is None or last.name.startswith(("tb", "bx", "blx")):
            refill = M4_INDIRECT
        else:
            across = target is not None and target.size == 4 and target.address % 4 != 0
            refill = M4_DIRECT + across
    return once * run.executed + refill * run.jumps + run.penalty


def m4_cycles(instruction: Instruction, before: Instruction | None) -> int:
    """Cycles of an instruction behind ``before``; a taken branch's refill is extra."""
    kind, name = instruction.kind, instruction.name
    cycles = 1
    if kind in LOADS:
        cycles = 3 if name.endswith(".64") or _double(instruction) else 2
    elif kind == "store":
        cycles = 2 if instruction.register_offset else 1
    elif kind == "float store":
        count = instruction.registers_in_list
        words = 2 if _double(instruction) else 1
        cycles = 1 + (count or 1) * words
    elif kind in ("load multiple", "store multiple"):
        cycles = 1 + (instruction.registers_in_list or 2)
    elif kind == "float load multiple":
        cycles = 1 + instruction.registers_in_list * (2 if _double(instruction) else 1)
    elif kind == "divide":
        cycles = M4_DIVIDE
    elif kind == "branch" and name.startswith("tb"):
        cycles = _M4_TABLE_BRANCH
    elif kind == "float arithmetic":
        if name.startswith(("vdiv", "vsqrt")):
            cycles = 14
        elif re.match(r"v(?:n?ml[as]|fn?m[as])", name):
            cycles = 3
    elif kind == "float move" and len(_registers(instruction.operands)) > 2:
        cycles = 2
    if before is not None:
        cycles += _m4_neighbours(instruction, before)
    return cycles


def _m4_neighbours(instruction: Instruction, before: Instruction) -> int:
    """Cycles that the instruction before adds or saves."""
    memory = bool(instruction.address_registers)
    needs = instruction.address_registers
    if before.kind in LOADS:
        single = instruction.kind == "load" or (
            instruction.kind == "store" and instruction.register_offset
        )
        if single and not before.writes & needs:
            return -1
        return 0
    if memory and before.writes & needs and before.kind in ("arithmetic", "multiply", "simd"):
        return 1
    if before.kind == "float arithmetic" and before.writes & instruction.reads:
        # the addend of a multiply-accumulate is needed a cycle later
        addend = before.writes & instruction.writes and re.match(r"v(?:n?ml|fn?m)", before.name)
        return 0 if addend else 1
    return 0


def _double(instruction: Instruction) -> bool:
    return bool(re.search(r"\bd\d", instruction.operands))


# -- Cortex-M7 --------------------------------------------------------------------------------

M7_MISPREDICTED = 6
"""Cycles that a branch costs which went the rarer way."""
M7_DIVIDE = 7
_ADDRESS = -1
"""Addresses and shifted operands are needed a cycle before the others."""
_UNITS = {"load": 2, "store": 1, "alu": 2, "mac": 1, "shift": 1, "simd": 1, "branch": 1, "vfp": 1,
          "port": 2}  # fmt: skip
_SHIFTED = re.compile(r"\b(?:lsl|lsr|asr|ror)\b")
_SHIFT = re.compile(r"lsl|lsr|asr|ror|rbit|rev|bf[ci]|[su]bfx|pkh|[su]xta|[su]sat")


@dataclass(frozen=True)
class _Issue:
    """What an instruction needs: units in its cycle, cycles until its result can be used."""

    units: tuple[str, ...]
    latency: int
    alone: int = 0
    """Cycles in which nothing else is issued; 0: it may be one of a pair."""
    first: bool = False
    """Whether it can only be the first of a pair."""


def _m7_issue(instruction: Instruction) -> _Issue:
    kind, name = instruction.kind, instruction.name
    double = name.endswith(".f64") or _double(instruction)
    ports = ("port", "port") if double else ("port",)
    if kind == "load":
        return _Issue(("load",), 1 if name == "ldr" or name[3:] in CONDITIONS else 2)
    if kind == "store":
        return _Issue(("store",), 1)
    if kind in ("load multiple", "store multiple", "float load multiple"):
        words = instruction.registers_in_list * (2 if double else 1) or 2
        return _Issue((), 1, alone=(words + 1) // 2)
    if kind == "float load":
        return _Issue(("load", *ports), 2 if double else 1, alone=int(double))
    if kind == "float store":
        words = (instruction.registers_in_list or 1) * (2 if double else 1)
        alone = (words + 1) // 2 if instruction.registers_in_list or double else 0
        return _Issue(("store", *ports), 1, alone=alone)
    if kind == "multiply":
        return _Issue(("mac",), 2)
    if kind == "divide":
        return _Issue(("alu",), 1, alone=M7_DIVIDE)
    if kind == "simd":
        shifter = ("shift",) if _SHIFT.match(name) and not name.endswith("16") else ()
        slow = name.startswith(("q", "uq", "usad", "ssat", "usat"))
        return _Issue(("simd", "alu", *shifter), 2 if slow else 1, first=True)
    if kind == "branch":
        return _Issue(("branch",), 1, alone=2 if name.startswith("tb") else 0)
    if kind == "float arithmetic":
        if name.startswith(("vdiv", "vsqrt")):
            return _Issue(("vfp", *ports), 30 if double else 16, alone=1)
        if re.match(r"v(?:n?ml[as]|fn?m[as])", name):
            return _Issue(("vfp", *ports), 11 if double else 6, first=double)
        slow = double and name.startswith("vmul")
        return _Issue(("vfp", *ports), 7 if slow else 4 if double else 3, first=double)
    if kind == "float move":
        return _Issue(ports, 3)
    if kind == "other":
        return _Issue((), 3, alone=1)
    if name == "nop" or name.startswith("it"):
        return _Issue((), 0)
    if name.startswith(("rev", "rbit")):
        return _Issue(("simd", "alu", "shift"), 0, first=True)
    if re.match(r"[su]xt[bh]|[su]bfx", name):
        return _Issue(("simd", "alu"), 1, first=True)
    shift = _SHIFT.match(name) or _SHIFTED.search(instruction.operands)
    return _Issue(("alu", "shift") if shift else ("alu",), 1, first=name.startswith(("clz", "bf")))


def _m7_advance(instruction: Instruction, register: str) -> int:
    """By how many cycles a register may come later (or must come earlier) than at issue."""
    if register in instruction.address_registers:
        return _ADDRESS
    if instruction.kind in ("store", "float store"):
        return 1
    if instruction.kind == "multiply" and re.match(r"s?ml[as]|smm?l[as]", instruction.name):
        return 1 if _registers(instruction.operands)[-1:] == [register] else 0
    if re.match(r"v(?:n?ml[as]|fn?m[as])", instruction.name):
        return 3 if register in instruction.writes else 0
    return _ADDRESS if _SHIFTED.search(instruction.operands) else 0


def m7_cycles(code: Sequence[Instruction]) -> int:
    """Cycles in which a run is issued, two at a time where the rules allow, in order."""
    ready: dict[str, int] = {}
    now, slots = 0, 0
    free = dict(_UNITS)
    for instruction in code:
        issue = _m7_issue(instruction)
        wanted = max(
            (
                ready[register] - _m7_advance(instruction, register)
                for register in instruction.reads
                if register in ready
            ),
            default=0,
        )
        full = slots == 2 or any(free[u] < issue.units.count(u) for u in issue.units)
        if slots and (full or wanted > now or issue.alone or issue.first):
            now, slots, free = now + 1, 0, dict(_UNITS)
        now = max(now, wanted)
        for unit in issue.units:
            free[unit] -= 1
        slots += 1
        for register in instruction.writes:
            ready[register] = now + (0 if register in instruction.updates else issue.latency)
        if issue.alone:
            now, slots, free = now + issue.alone, 0, dict(_UNITS)
    return now + (1 if slots else 0)


def _m7(run: Run, at: Mapping[int, Instruction]) -> int:
    del at
    last = run.code[-1]
    once = m7_cycles(run.code)
    if last.target == run.code[0].address:
        # a loop of its own: what a round adds to the one before
        once = max(1, m7_cycles((*run.code, *run.code)) - once)
    cycles = once * run.executed
    if last.conditional_branch:
        cycles += M7_MISPREDICTED * min(run.jumps, run.executed - run.jumps)
    elif last.name.startswith(("tb", "blx")):
        cycles += M7_MISPREDICTED * run.jumps
    return cycles


PIPELINES = {
    "cortex-m4": Pipeline("cortex-m4", "Cortex-M4", _m4),
    "cortex-m7": Pipeline("cortex-m7", "Cortex-M7", _m7),
}
"""The cores whose cycles can be estimated."""
