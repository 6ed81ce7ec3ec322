"""What is compiled with which flags: the one source of both the build and the Makefile."""

from __future__ import annotations

from dataclasses import dataclass

from tinymill.boards import Board

PROGRAM = "main"

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


def recipe(board: Board, model: str, *, profile: bool = False, sanitize: bool = False) -> Recipe:
    """How ``model`` is built for ``board``, from the files of its project."""
    harness: tuple[str, ...]
    freestanding: tuple[str, ...]
    link: tuple[str, ...]
    if board.is_host:
        harness = ("main.c", "measure_host.c", "port_host.c")
        freestanding = ()
        link = ("-Wl,--gc-sections", "-Wl,-z,now")
    else:
        start = STARTS[board.compiler.family]
        harness = ("main.c", "measure_simulated.c", "port_semihosting.c", start)
        freestanding = FREESTANDING
        # Flash and RAM of a microcontroller share pages: no protection to warn about.
        link = ("-nostartfiles", "-static", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments")
    compiler = board.compiler
    flags = (*compiler.flags, compiler.optimise, *C_FLAGS)
    if profile:
        flags += ("-DTM_PROFILE",)
    extra = SANITIZERS if sanitize else ()
    units = tuple(
        Unit(f"target/{name}", f"harness/{name.removesuffix('.c')}.o", True) for name in harness
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
    )
