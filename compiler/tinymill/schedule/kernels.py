"""The kernel table: which C function serves a call on a board."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import UnsupportedOp
from ..ir import KernelCall, Table
from ..share import share


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
    axes: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return share("runtime_c") / "src" / self.folder / f"{self.name}.c"

    def fits(self, call: KernelCall, features: Iterable[str]) -> bool:
        """Whether this kernel may serve ``call`` on a core with ``features``."""
        return (
            (self.family, self.dtype) == (call.family, call.dtype)
            and self.features <= frozenset(features)
            and bool(_evaluate(self.when, facts_of(call)))
        )

    def scratch_bytes(self, call: KernelCall) -> int:
        """Bytes of temporary memory that ``call`` needs."""
        return int(_evaluate(self.scratch, facts_of(call)))

    def packed(self, table: Table) -> np.ndarray:
        """A constant operand in the layout that this kernel reads."""
        wanted = self.axes.get(table.role)
        if wanted is None or wanted == table.axes:
            return np.ascontiguousarray(table.array)
        order = [table.axes.index(axis) for axis in wanted]
        return np.ascontiguousarray(table.array.transpose(order))


def facts_of(call: KernelCall) -> dict[str, int | float]:
    """The numbers a kernel may be chosen by."""
    numbers = {name: value for name, value in call.params.items() if isinstance(value, int | float)}
    return {**numbers, **call.facts}


@cache
def kernel_table() -> tuple[Kernel, ...]:
    """All kernels, in the order in which they are tried."""
    rows = tomllib.loads((share("runtime_c") / "kernels.toml").read_text())["kernel"]
    return tuple(Kernel(**{**row, "features": frozenset(row.get("features", ()))}) for row in rows)


def choose(call: KernelCall, features: Iterable[str]) -> Kernel:
    """The first kernel of the table that fits. Raises ``UnsupportedOp`` if none does."""
    for kernel in kernel_table():
        if kernel.fits(call, features):
            return kernel
    raise UnsupportedOp(
        f"no kernel of family '{call.family}' for {call.dtype} and this shape",
        hint="kernels are listed in runtime_c/kernels.toml",
    )


@cache
def _compiled(expression: str):
    tree = ast.parse(expression, mode="eval")
    return compile(tree, "kernels.toml", "eval")


def _evaluate(expression: str, facts: Mapping[str, int | float]) -> int | float:
    scope = {"__builtins__": {}, "max": max, "min": min, "abs": abs}
    return eval(_compiled(expression), scope, dict(facts))  # our own table, not user input
