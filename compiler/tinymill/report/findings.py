"""What a page warns of: a table of rules, each a fact about a plan and the option that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..schedule import kernel_table
from .layers import CORES, FLOATS
from .subject import Memory, Subject

Weight = Literal["error", "warning", "hint"]
SOFTMAX = ("Softmax", "TableSoftmax", "LogSoftmax")
SOFTMAX_SHARE = 0.02
"""The least part of the time at which a softmax is worth a word."""
SCALAR_SHARE = 0.01
NEARLY = 0.9
"""The part of a memory from which on it is nearly full."""
SAVED, PAID = 0.2, 0.1
"""A smaller plan is named that saves this part of the arena for at most that part of the time."""
POOR_DB = 15.0
"""Decibels below which a layer's values are far from the float model's."""
NAMED = 4
"""Layers that a finding names."""


@dataclass(frozen=True)
class Finding:
    """``rule`` names the rule, ``option`` what helps, None where nothing on a command line does.
    ``layers`` are places in ``Subject.layers``."""

    rule: str
    weight: Weight
    text: str
    option: str | None = None
    layers: tuple[int, ...] = ()


def findings_of(subject: Subject) -> tuple[Finding, ...]:
    """All that the rules find, what does not work first."""
    found = [finding for rule in RULES for finding in rule(subject)]
    order = ("error", "warning", "hint")
    return tuple(sorted(found, key=lambda finding: order.index(finding.weight)))


def too_large(subject: Subject) -> Iterator[Finding]:
    """A memory of the board that holds less than is asked of it; what ``compile`` refuses."""
    refusal = subject.refusal
    for memory in subject.missing:
        assert memory.size is not None
        helps = _smaller(subject, memory.kind, memory.used - memory.size)
        if helps is None and refusal is not None:
            helps = refusal.hint
        yield Finding(
            "too-large", "error",
            f"{_region(memory)} is too small: {memory.used:,} bytes are needed, "
            f"{memory.size:,} are there, {memory.used - memory.size:,} too few.",
            helps,
        )  # fmt: skip
    if refusal is not None and not subject.missing:
        yield Finding("too-large", "error", f"{refusal.problem}.", refusal.hint)


def nearly_full(subject: Subject) -> Iterator[Finding]:
    """A memory with little left for the rest of the firmware."""
    for memory in subject.memories:
        if memory.size is None or not NEARLY * memory.size <= memory.used <= memory.size:
            continue
        left = memory.size - memory.used
        yield Finding(
            "nearly-full", "warning",
            f"{_region(memory)} is {memory.used / memory.size:.0%} full: {left:,} of "
            f"{memory.size:,} bytes are left for the rest of the firmware.",
            _smaller(subject, memory.kind, 1),
        )  # fmt: skip


def _region(memory: Memory) -> str:
    return f"The {'RAM' if memory.kind == 'ram' else memory.kind} region {memory.name}"


def _smaller(subject: Subject, kind: str, bytes: int) -> str | None:
    """The option that takes at least so many bytes less of RAM, or some less of flash."""
    if kind == "flash":
        smaller = subject.optimize == "time" and subject.plan.widened_bytes > 0
        return "--optimize size" if smaller else None
    least = min(subject.alternatives, key=lambda plan: plan.arena, default=None)
    if least is None or least.goal is None or subject.plan.arena_bytes - least.arena < bytes:
        return None
    return f"--plan {least.goal}"


def smaller_plan(subject: Subject) -> Iterator[Finding]:
    """A plan of the front that saves much RAM for little time."""
    plan = subject.plan
    cheap = [
        other
        for other in subject.alternatives
        if other.arena <= (1 - SAVED) * plan.arena_bytes
        and other.instructions <= (1 + PAID) * plan.cost
    ]
    if not cheap:
        return
    best = min(cheap, key=lambda other: other.arena)
    saved = plan.arena_bytes - best.arena
    more = best.instructions / max(plan.cost, 1) - 1
    price = f"{more:.1%} more instructions" if more > 0 else "no more instructions"
    yield Finding(
        "smaller-plan", "hint",
        f"Another plan saves {saved:,} bytes of RAM ({saved / plan.arena_bytes:.0%} of the arena) "
        f"for {price}{'' if best.file is None else '; it can be saved under Plans'}.",
        f"--plan {best.goal if best.file is None else best.file}",
    )  # fmt: skip


def last_softmax(subject: Subject) -> Iterator[Finding]:
    """A softmax whose order alone is wanted: it does not change which class is the largest."""
    ends = {port.value for port in subject.plan.graph.outputs}
    roots = subject.plan.graph.alias_roots
    ends |= {roots.get(value, value) for value in ends}
    total = max(sum(subject.times), 1)
    for index, step in enumerate(subject.plan.layers):
        share = subject.times[index] / total
        if step.node.op.name not in SOFTMAX or share < SOFTMAX_SHARE:
            continue
        if _through(subject, step.node.outputs[0]) & ends:
            yield Finding(
                "last-softmax", "hint",
                f"The softmax is {share:.0%} of the time; the order of its outputs needs no "
                "softmax.",
                "--drop-softmax", (index,),
            )  # fmt: skip


def _through(subject: Subject, value: str) -> set[str]:
    """The value, and what a conversion to float or back makes of it."""
    found = {value}
    for node in subject.plan.graph.nodes:
        if node.op.name in (*FLOATS, "Reshape", "Recode") and found & set(node.inputs):
            found |= set(node.outputs)
    return found


def float_layers(subject: Subject) -> Iterator[Finding]:
    """Layers that compute floats in a model of integers, and models of floats."""
    floats = [index for index, layer in enumerate(subject.layers) if layer.is_float]
    if not floats:
        return
    total = max(sum(subject.times), 1)
    share = sum(subject.times[index] for index in floats) / total
    integers = any(
        not layer.is_float and layer.macs and layer.main.dtype == "int8" for layer in subject.layers
    )
    if integers:
        count = f"{len(floats)} layer{'s compute' if len(floats) > 1 else ' computes'}"
        yield Finding(
            "float-layers", "warning",
            f"{count} floats in a quantised model, {share:.0%} of the time: "
            f"{_names(subject, floats)}.",
            None, tuple(floats),
        )  # fmt: skip
    elif any(subject.layers[index].macs for index in floats):
        soft = " This core has no floating-point unit: libraries compute each of them."
        fpu = subject.board.is_host or {"fpu", "fpu64", "mve-fp"} & {*subject.board.features}
        yield Finding(
            "float-model", "hint" if fpu else "warning",
            "The model computes floats. As int8 its weights take a quarter of the flash."
            + ("" if fpu else soft),
            f"tinymill quantize {subject.model} --calibration DATA --output int8.onnx",
            tuple(floats),
        )  # fmt: skip


def conversions(subject: Subject) -> Iterator[Finding]:
    """Dequantize and Quantize nodes that no pass could remove."""
    found = [index for index, layer in enumerate(subject.layers) if layer.op in FLOATS]
    graph = subject.plan.graph
    starts = {port.value for port in graph.inputs}
    ends = {port.value for port in graph.outputs}
    inner: list[int] = []
    outer: list[int] = []
    for index in found:
        node = subject.plan.layers[index].node
        # floats that the user gives or gets
        at_end = node.inputs[0] in starts if node.op.name == "Quantize" else node.outputs[0] in ends
        (outer if at_end else inner).append(index)
    total = max(sum(subject.times), 1)
    if inner:
        share = sum(subject.times[index] for index in inner) / total
        yield Finding(
            "conversions", "warning",
            f"{len(inner)} conversion{'s' * (len(inner) > 1)} between integers and floats "
            f"{'are' if len(inner) > 1 else 'is'} left inside of the model, {share:.1%} of the "
            f"time: {_names(subject, inner)}.",
            None, tuple(inner),
        )  # fmt: skip
    if outer and subject.io == "float":
        share = sum(subject.times[index] for index in outer) / total
        yield Finding(
            "float-ends", "hint",
            f"Floats go in or out of a quantised model; converting them is {share:.1%} of the "
            "time.",
            "--io quantized", tuple(outer),
        )  # fmt: skip


def scalar_kernels(subject: Subject) -> Iterator[Finding]:
    """Layers on a core with vector or DSP instructions whose kernel uses none of them, where
    kernels of their family do."""
    features = frozenset(subject.board.features)
    total = max(sum(subject.times), 1)
    slow = []
    for index, step in enumerate(subject.plan.layers):
        kernel = step.kernel
        if kernel.folder != "generic" or subject.times[index] / total < SCALAR_SHARE:
            continue
        faster = [
            other
            for other in kernel_table()
            if (other.family, other.dtype) == (kernel.family, kernel.dtype)
            and other.folder in ("dsp", "mve")
            and other.features <= features
        ]
        if faster:
            slow.append((index, faster[0].folder))
    if slow:
        places = [index for index, _ in slow]
        share = sum(subject.times[index] for index in places) / total
        yield Finding(
            "scalar-kernels", "warning",
            f"{len(slow)} layer{'s use' if len(slow) > 1 else ' uses'} a kernel for any core, as "
            f"no kernel with {CORES[slow[0][1]]} takes "
            f"{'their shapes' if len(slow) > 1 else 'its shape'}; {share:.0%} of the time: "
            f"{_names(subject, places)}.",
            None, tuple(places),
        )  # fmt: skip


def poor_layers(subject: Subject) -> Iterator[Finding]:
    """Layers whose integers are far from the float model's."""
    if subject.errors is None:
        return
    poor = sorted(
        (each for each in subject.errors.layers if each.sqnr_db is not None
         and each.sqnr_db < POOR_DB),
        key=lambda each: each.sqnr_db or 0.0,
    )  # fmt: skip
    if not poor:
        return
    worst = ", ".join(f"{each.name} ({each.sqnr_db:.1f} dB)" for each in poor[:NAMED])
    yield Finding(
        "poor-layers", "warning",
        f"{len(poor)} layer{'s are' if len(poor) > 1 else ' is'} less than {POOR_DB:.0f} dB from "
        f"the float model: {worst}{' and others' if len(poor) > NAMED else ''}.",
        "tinymill quantize --equalize --correct-bias",
    )  # fmt: skip


def two_memories(subject: Subject) -> Iterator[Finding]:
    """An arena of which a part lies in a slower memory."""
    slow = subject.plan.slow_bytes
    if slow:
        yield Finding(
            "two-memories", "hint",
            f"The arena is in two memories: {slow:,} of {subject.plan.arena_bytes:,} bytes, those "
            "used least, are in the second one.",
            _smaller(subject, "ram", 1),
        )  # fmt: skip


def _names(subject: Subject, layers: Sequence[int]) -> str:
    """The layers that take most of the time, by name."""
    most = sorted(layers, key=lambda index: -subject.times[index])[:NAMED]
    names = ", ".join(f"{index} {subject.layers[index].short}" for index in sorted(most))
    return names + (" and others" if len(layers) > NAMED else "")


RULES: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    too_large, nearly_full, last_softmax, float_layers, conversions, scalar_kernels,
    poor_layers, smaller_plan, two_memories,
)  # fmt: skip
