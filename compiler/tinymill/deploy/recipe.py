"""What is compiled with which flags: the one source of both the build and the Makefile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

from tinymill.boards import Board
from tinymill.errors import BoardError

PROGRAM = "main"

FIRMWARE = "firmware.elf"
"""The program that a board runs on its own: frames come over its UART."""

WIRES = ("uart", "semihosting", "swo")
"""How firmware speaks: over the board's UART, a debugger's console, or, one way, the trace pin."""

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")

# A fused multiply-add rounds once where the definition rounds twice.
EXACT = ("-ffp-contract=off",)

C_FLAGS = (
    "-std=c11",
    *WARNINGS,
    *EXACT,
    "-ffunction-sections",
    "-fdata-sections",
)

SANITIZERS = (
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-DTM_SANITIZE",
)

# The harness must not call the C library, whose code would count as the model's.
FREESTANDING = ("-ffreestanding", "-fno-tree-loop-distribute-patterns", "-fno-jump-tables")

STARTS = {"arm-none-eabi": "start_arm.c", "riscv64-unknown-elf": "start_riscv.c"}


@dataclass(frozen=True)
class Unit:
    """One translation unit; ``source`` relative to the project, ``object`` to the build."""

    source: str
    object: str
    harness: bool


@dataclass(frozen=True)
class Recipe:
    """Everything a build needs to know; all paths relative."""

    units: tuple[Unit, ...]
    model_flags: tuple[str, ...]
    harness_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    script: str | None
    """The linker script, relative to the project."""
    program: str = PROGRAM


def runs_here(board: Board) -> bool:
    """Whether there is a program that runs on this machine, by itself or in a simulator."""
    return board.is_host or board.simulator is not None


def recipe(
    board: Board,
    model: str,
    *,
    profile: bool = False,
    sanitize: bool = False,
    firmware: bool | None = None,
    wire: str = "uart",
    frames: int = 0,
    train: bool = False,
) -> Recipe:
    """How ``model`` is built for ``board``, from the files of its project.

    ``firmware`` asks for what the board itself runs, instead of what runs here; None takes it where
    the board has nothing else. ``wire`` is one of ``WIRES``; with ``frames`` these many frames are
    in the program, from a file frames.bin in the folder of the build. With ``train`` the program
    takes steps of training. Raises ``BoardError`` where the board's file tells of none.
    """
    if firmware is None:
        firmware = not runs_here(board)
    harness: tuple[str, ...]
    freestanding: tuple[str, ...]
    link: tuple[str, ...]
    if firmware:
        if board.firmware is None:
            raise BoardError(f"{board.name} has no UART for firmware to speak over")
        if wire == "swo" and board.firmware.cycles != "dwt":
            raise BoardError(
                f"{board.name} has no trace pin", hint="Cortex-M3 and up have one: cycles = 'dwt'"
            )
        source = f"uart_{board.firmware.uart}.c" if wire == "uart" else f"wire_{wire}.c"
        harness = ("firmware.c", "cycles.c", "stack.c", source)
        harness += tuple(source.name for source in boot_sources(board))
    elif board.is_host:
        harness = ("main.c", "measure_host.c", "port_host.c")
    else:
        harness = ("main.c", "measure_simulated.c", "stack.c", "port_semihosting.c")
    if board.is_host:
        freestanding = ()
        link = ("-Wl,--gc-sections", "-Wl,-z,now")
    else:
        harness += (STARTS[board.compiler.family],)
        freestanding = FREESTANDING
        # Flash and RAM of a microcontroller share pages: no protection to warn about. Nor are there
        # pages: else the file's own headers become part of a segment, which a tool would write.
        link = (
            "-nostartfiles", "-static", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments",
            "-Wl,--nmagic",
        )  # fmt: skip
    compiler = board.compiler
    flags = (*compiler.flags, compiler.optimise, *C_FLAGS)
    if profile:
        flags += ("-DTM_PROFILE",)
    if frames:
        freestanding = (*freestanding, f"-DTM_FRAMES={frames}u")
    if train:
        flags += ("-DTM_TRAIN",)
    extra = SANITIZERS if sanitize else ()
    units = tuple(
        Unit(f"target/{name}", f"harness/{PurePath(name).stem}.o", True) for name in harness
    ) + tuple(Unit(f"{name}.c", f"model/{name}.o", False) for name in (model, f"{model}_weights"))
    return Recipe(
        units=units,
        model_flags=(*flags, *extra),
        harness_flags=(*flags, *freestanding, *extra),
        link_flags=(
            *(compiler.link_flags or compiler.flags),
            *(flag for flag in extra if flag.startswith("-fsanitize")),
            *link,
            "-lm",
        ),
        script=None if board.is_host else "target/link.ld",
        program=FIRMWARE if firmware else PROGRAM,
    )


def boot_sources(board: Board) -> tuple[Path, ...]:
    """The assembly files of the board's boot blocks."""
    blocks = board.boot.blocks if board.boot is not None else ()
    return tuple(block.source for block in blocks if block.source is not None)
