"""The files that a target adds to an emitted project, so that it builds without tinymill.

They are the harness of runtime_c/target, copied, and the templates of templates/target,
rendered. The same facts give the same bytes.
"""

from __future__ import annotations

from functools import cache

import jinja2

from tinymill.boards import Board, Region
from tinymill.deploy import qemu, toolchain
from tinymill.deploy.recipe import PROGRAM, recipe
from tinymill.share import share

STACK_LEAST = 1024
"""Bytes that the linker keeps for the model's stack; it gets all that the region has left."""

HARNESS_STACK = 512
"""Bytes of stack for the harness itself."""

RAM_ALLOWANCE = 8192
"""Bytes left beside an arena in the region of stack and variables, where there is a choice."""

CODE_ALLOWANCE = 65536
"""Bytes left beside the weights in the region of the code, where there is a choice."""


def target_files(
    board: Board, model: str, *, arena_bytes: int, weights_bytes: int, slow_bytes: int = 0
) -> dict[str, str]:
    """All files a project for ``board`` needs beside the model's own: path -> content.

    ``model`` is the C name (a lower-case identifier); an arena with ``slow_bytes`` in a second
    memory has its first part in the board's first RAM; else the sizes choose the regions for arena
    and weights. Whether everything fits is the linker's to say: ``build`` turns its words
    into ``OutOfMemory``.
    """
    files: dict[str, str] = {}
    facts = recipe(board, model)
    for unit in facts.units:
        if unit.harness:
            files[unit.source] = _copy(unit.source)
    for header in ("port.h", "measure.h") + (() if board.is_host else ("start.h",)):
        files[f"target/{header}"] = _copy(f"target/{header}")
    timer = board.timer
    files["target/target.h"] = _render(
        "target.h.j2",
        board=board,
        model=model,
        prefix=model.upper(),
        timer=timer,
        scale_shift=timer.instructions_per_tick[1].bit_length() - 1 if timer else 0,
    )
    if facts.script is not None:
        files[facts.script] = _render(
            "link.ld.j2",
            board=board,
            model=model,
            **regions_for(
                board, arena_bytes=arena_bytes, slow_bytes=slow_bytes, weights_bytes=weights_bytes
            ),
            stack_least=STACK_LEAST + HARNESS_STACK,
            harness_stack=HARNESS_STACK,
        )
    program = f"$(BUILD)/{PROGRAM}"
    files["Makefile"] = _render(
        "Makefile.j2",
        board=board,
        model=model,
        program=toolchain.COMPILERS[board.compiler.family],
        recipe=facts,
        objects=[f"$(BUILD)/{unit.object}" for unit in facts.units],
        run=(program,) if board.simulator is None else qemu.argv(board.simulator, program),
    )
    return dict(sorted(files.items()))


def regions_for(
    board: Board, *, arena_bytes: int, slow_bytes: int, weights_bytes: int
) -> dict[str, str]:
    """The region of each part of a program: code, weights, ram (variables, stack), arena, slow."""
    arena = board.ram[0] if slow_bytes else _region(board.ram, arena_bytes, RAM_ALLOWANCE)
    others = tuple(region for region in board.ram if region is not arena) or board.ram
    return {
        "code": board.flash[0].name,
        "weights": _region(board.flash, weights_bytes, CODE_ALLOWANCE).name,
        "ram": board.ram[0].name,
        "arena": arena.name,
        "slow": _region(others, slow_bytes, 0).name,
    }


def _region(regions: tuple[Region, ...], size: int, allowance: int) -> Region:
    """The smallest region that holds ``size`` bytes (the first one ``allowance`` more); where
    none does, the largest, so that the linker says by how much it fails."""
    fitting = [
        region
        for region in regions
        if size + (allowance if region is regions[0] else 0) <= region.size
    ]
    if fitting:
        return min(fitting, key=lambda region: region.size)
    return max(regions, key=lambda region: region.size)


def _copy(path: str) -> str:
    return (share("runtime_c") / path).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(share("templates") / "target"),
        undefined=jinja2.StrictUndefined,
        line_statement_prefix="//%",
        trim_blocks=False,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _render(template: str, **facts: object) -> str:
    return _environment().get_template(template).render(**facts)
