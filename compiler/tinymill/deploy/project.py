"""The files that a target adds to an emitted project, so that it builds without tinymill.

They are the harness of runtime_c/target, copied, and the templates of templates/target,
rendered. The same facts give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import jinja2

from tinymill.boards import Board, Region
from tinymill.deploy import qemu, toolchain
from tinymill.deploy.recipe import PROGRAM, Recipe, boot_sources, recipe, runs_here
from tinymill.share import share

STACK_LEAST = 1024
"""Bytes that the linker keeps for the model's stack; it gets all that the region has left."""

HARNESS_STACK = 512
"""Bytes of stack for the harness itself."""

RAM_ALLOWANCE = 8192
"""Bytes left beside an arena in the region of stack and variables, where there is a choice."""

CODE_ALLOWANCE = 65536
"""Bytes left beside the weights in the region of the code, where there is a choice."""


CONSTANTS = ".rodata .rodata.* .srodata .srodata.*"
"""Input sections of constants, as a linker script lists them."""


@dataclass(frozen=True)
class BootPart:
    """A piece of the image's start as the linker script shows it."""

    offset: int
    symbol: str
    words: tuple[str, ...]
    section: str


def digest_of(files: Mapping[str, str]) -> str:
    """Sixteen hexadecimal digits that tell a model's C from any other."""
    digest = hashlib.sha256()
    for path, text in sorted(files.items()):
        content = text.encode()
        digest.update(f"{path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def target_files(
    board: Board,
    model: str,
    *,
    arena_bytes: int,
    weights_bytes: int,
    slow_bytes: int = 0,
    digest: str = "0" * 16,
) -> dict[str, str]:
    """All files a project for ``board`` needs beside the model's own: path -> content.

    ``model`` is the C name (a lower-case identifier); an arena with ``slow_bytes`` in a second
    memory has its first part in the board's first RAM; else the sizes choose the regions for arena
    and weights. Firmware tells ``digest``, that of the model's C (``digest_of``), to who asks.
    Whether everything fits is the linker's to say: ``build`` turns its words into
    ``OutOfMemory``.
    """
    files: dict[str, str] = {}
    recipes: tuple[Recipe, ...] = ()
    if runs_here(board):
        recipes += (recipe(board, model, firmware=False),)
    if board.firmware is not None:
        recipes += (recipe(board, model, firmware=True),)
    facts = recipes[0]
    units = tuple(dict.fromkeys(unit for each in recipes for unit in each.units))
    sources = {source.name: source for source in boot_sources(board)}
    headers = ["port.h"]
    if runs_here(board):
        headers.append("measure.h")
    if not board.is_host:
        headers += ["start.h", "stack.h"]
    if board.simulator is not None:
        headers.append("semihosting.h")
    if board.firmware is not None:
        headers += ["cycles.h", "uart.h", "wire.h"]
        files["target/firmware.h"] = _render(
            "firmware.h.j2", board=board, model=model, firmware=board.firmware,
            digest=(digest[8:], digest[:8]),
        )  # fmt: skip
    for name in (unit.source.removeprefix("target/") for unit in units if unit.harness):
        files[f"target/{name}"] = (
            sources[name].read_text(encoding="utf-8") if name in sources else _copy(name)
        )
    for name in headers:
        files[f"target/{name}"] = _copy(name)
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
            data_origin=board.flash[0].data_address,
            boot=boot_parts(board),
            constants=CONSTANTS,
            **regions_for(
                board, arena_bytes=arena_bytes, slow_bytes=slow_bytes, weights_bytes=weights_bytes
            ),
            stack_least=STACK_LEAST + HARNESS_STACK,
            harness_stack=HARNESS_STACK,
        )
    program = f"$(BUILD)/{PROGRAM}"
    run: tuple[str, ...] = ()
    if board.is_host:
        run = (program,)
    elif board.simulator is not None:
        run = qemu.argv(board.simulator, program)
    files["Makefile"] = _render(
        "Makefile.j2",
        board=board,
        model=model,
        program=toolchain.COMPILERS[board.compiler.family],
        objcopy=toolchain.objcopy_name(board),
        recipe=facts,
        programs=[
            {
                "name": each.program,
                "objects": [f"$(BUILD)/{unit.object}" for unit in each.units],
            }
            for each in recipes
        ],
        units=units,
        firmware=None if board.firmware is None else recipes[-1].program,
        run=run,
    )
    return dict(sorted(files.items()))


def boot_parts(board: Board) -> tuple[BootPart, ...]:
    """Boot blocks and vector table in the order of their offsets; empty where there is no such
    thing."""
    if board.boot is None:
        return ()
    parts = [BootPart(board.boot.vectors, "tm_link_vectors", (), ".tm_vectors")]
    for block in board.boot.blocks:
        words = tuple(
            f"0x{word:08X}" if isinstance(word, int) else f"tm_link_{word.replace('.', '_')}"
            for word in block.words
        )
        section = "" if block.source is None else f".tm_boot.{block.name}"
        parts.append(BootPart(block.offset, f"tm_link_block_{block.name}", words, section))
    return tuple(sorted(parts, key=lambda part: part.offset))


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


def _copy(name: str) -> str:
    return (share("runtime_c") / "target" / name).read_text(encoding="utf-8")


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
