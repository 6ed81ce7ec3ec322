"""Finds the programs that build and run a project, or says how to install them."""

from __future__ import annotations

import os
import shlex
import shutil

from tinymill.boards import Board
from tinymill.errors import BoardError, ToolMissing

CC_VARIABLE = "TINYMILL_CC"
"""Environment variable naming the host's compiler; without it CC counts."""

COMPILERS = {
    "host": "cc",
    "arm-none-eabi": "arm-none-eabi-gcc",
    "riscv64-unknown-elf": "riscv64-unknown-elf-gcc",
}

INSTALL = {
    "cc": "apt-get install gcc",
    "gcc": "apt-get install gcc",
    "clang": "apt-get install clang",
    "arm-none-eabi-gcc": "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-objcopy": "apt-get install binutils-arm-none-eabi",
    "riscv64-unknown-elf-objcopy": "apt-get install binutils-riscv64-unknown-elf",
    "arm-none-eabi-objdump": "apt-get install binutils-arm-none-eabi",
    "riscv64-unknown-elf-gcc": "apt-get install gcc-riscv64-unknown-elf "
    "picolibc-riscv64-unknown-elf",
    "qemu-system-arm": "apt-get install qemu-system-arm",
    "qemu-system-riscv32": "apt-get install qemu-system-misc",
}


def compiler(board: Board, cc: str | None = None) -> tuple[str, ...]:
    """The command that compiles for ``board``: ``cc``, else for the host ``TINYMILL_CC``, else
    the family's own. Raises ``ToolMissing`` when it is not installed."""
    command = compiler_name(board, cc)
    require(command[0])
    return command


def compiler_name(board: Board, cc: str | None = None) -> tuple[str, ...]:
    """As ``compiler``, without looking whether it is installed."""
    if not cc and board.is_host:
        cc = os.environ.get(CC_VARIABLE) or os.environ.get("CC")
    if not cc:
        return (COMPILERS[board.compiler.family],)
    try:
        command = tuple(shlex.split(cc))
    except ValueError as error:
        raise BoardError(f"compiler {cc!r}: {error}") from None
    if not command:
        raise BoardError("the compiler's name is blank")
    return command


def objcopy_name(board: Board) -> str:
    """The program that turns a linked one into what flash tools write."""
    return "objcopy" if board.is_host else f"{board.compiler.family}-objcopy"


def require(program: str) -> str:
    """Path of an installed program; else ``ToolMissing`` with the command that installs it."""
    found = shutil.which(program)
    if found is None:
        raise ToolMissing(
            program, install=INSTALL.get(program, f"the package that brings {program}")
        )
    return found


def missing(board: Board) -> tuple[str, ...]:
    """The programs that a build and a run for ``board`` lack, in the order they are needed."""
    programs = [compiler_name(board)[0]]
    if board.simulator is not None:
        programs.append(board.simulator.program)
    return tuple(program for program in programs if shutil.which(program) is None)
