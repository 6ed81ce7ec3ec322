"""The kernel table: which C function serves a call on a board."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from ..errors import UnsupportedOp
from ..ir import KernelCall, Table
from ..share import share
from . import layouts_dsp, layouts_mve, layouts_scalar  # noqa: F401  (they register their layouts)
from .call_facts import CallFacts
from .packing import LAYOUTS


@dataclass(frozen=True)
class Kernel:
    """One row of runtime_c/kernels.toml."""

    family: str
    dtype: str
    name: str
    folder: str
    features: frozenset[str] = frozenset()
    when: str = "True"
    scratch: str = "0"
    overlays: bool = True
    rows: str = "1"
    in_place: str = "False"
    by_channel: str = "False"
    fed: str | None = None
    """The function to which the last input row can be fed as it is made."""
    feeds: bool = False
    """Whether it may be called for some channels at a time, to feed another."""
    stack: str = "0"
    variables: tuple[str, ...] = ()
    """Roles of constant operands that may come as plain arrays in RAM instead."""
    axes: Mapping[str, str] = field(default_factory=dict)
    layout: str | None = None
    instance: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return share("runtime_c") / "src" / self.folder / f"{self.name}.c"

    def fits(self, facts: CallFacts, features: Iterable[str]) -> bool:
        """Whether this kernel may serve the call of ``facts`` on a core with ``features``."""
        call = facts.call
        return (
            (self.family, self.dtype) == (call.family, call.dtype)
            and self.features <= frozenset(features)
            and facts.variables <= frozenset(self.variables)
            and bool(_evaluate(self.when, facts))
        )

    def scratch_bytes(self, facts: CallFacts) -> int:
        """Bytes of temporary memory that the call needs."""
        return int(_evaluate(self.scratch, facts))

    def rows_at_once(self, facts: CallFacts) -> int:
        """Output rows that may be written before the input rows of the first are let go."""
        return int(_evaluate(self.rows, facts))

    def may_replace(self, facts: CallFacts) -> bool:
        """Whether the output may be at the very place of the first input."""
        return bool(_evaluate(self.in_place, facts))

    def is_by_channel(self, facts: CallFacts) -> bool:
        """Whether a channel of the first input is read before that of the output is written."""
        return bool(_evaluate(self.by_channel, facts))

    def pushed_bytes(self, facts: CallFacts) -> int:
        """Bytes of stack that the kernel's assembly takes, which no compiler counts."""
        return int(_evaluate(self.stack, facts))

    def defines(self, facts: CallFacts) -> dict[str, int]:
        """Macros with which the source is compiled for the call."""
        return {macro: int(_evaluate(text, facts)) for macro, text in self.instance.items()}

    def packed(self, facts: CallFacts) -> KernelCall:
        """The call with its constant operands in the layout that this kernel reads."""
        if self.layout is not None:
            return LAYOUTS[self.layout](facts)
        call = facts.call
        operands = tuple(
            self._permuted(item) if isinstance(item, Table) else item for item in call.operands
        )
        return replace(call, operands=operands)

    def _permuted(self, table: Table) -> Table:
        wanted = self.axes.get(table.role)
        if wanted is None or wanted == table.axes:
            return table
        order = [table.axes.index(axis) for axis in wanted]
        return replace(table, array=table.array.transpose(order), axes=wanted)


@cache
def kernel_table() -> tuple[Kernel, ...]:
    """All kernels, in the order in which they are tried."""
    rows = tomllib.loads((share("runtime_c") / "kernels.toml").read_text())["kernel"]
    return tuple(Kernel(**{**row, "features": frozenset(row.get("features", ()))}) for row in rows)


def choose(facts: CallFacts, features: Iterable[str]) -> Kernel:
    """The first kernel of the table that fits. Raises ``UnsupportedOp`` if none does."""
    for kernel in kernel_table():
        if kernel.fits(facts, features):
            return kernel
    raise UnsupportedOp(
        f"no kernel of family '{facts.call.family}' for {facts.call.dtype} and this shape",
        hint="kernels are listed in runtime_c/kernels.toml",
    )


@cache
def _compiled(expression: str):
    tree = ast.parse(expression, mode="eval")
    return compile(tree, "kernels.toml", "eval")


def _evaluate(expression: str, facts: CallFacts) -> int | float:
    scope = {"__builtins__": {}, "max": max, "min": min, "abs": abs}
    return eval(_compiled(expression), scope, facts)  # our own table, not user input
