"""RAM and flash of a built program, from the sections of its ELF file.

The linker script gives harness and weights output sections of their own, so nothing is
estimated: a program's sections are the figures.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from tinymill.errors import ToolFailed

_ALLOCATED = 2
_WRITABLE = 1
_NO_BITS = 8

HARNESS = ".tm_"
WEIGHTS = ".tm_weights"
WEIGHTS_IN_RAM = ".weights"


@dataclass(frozen=True)
class Section:
    """A section of an ELF file; ``size`` in bytes."""

    name: str
    size: int
    flags: int
    no_bits: bool

    @property
    def in_memory(self) -> bool:
        """Whether the running program has it."""
        return bool(self.flags & _ALLOCATED)

    @property
    def in_ram(self) -> bool:
        """Whether it is a variable; constants that hold addresses are writable only for the
        loader of a host."""
        constant = self.name.startswith(".data.rel.ro")
        return self.in_memory and bool(self.flags & _WRITABLE) and not constant

    @property
    def in_flash(self) -> bool:
        """Whether its bytes are in the image (initialised variables are, too)."""
        return self.in_memory and not self.no_bits


@dataclass(frozen=True)
class Sizes:
    """Bytes a model takes, harness not counted: ``code`` with constants and the initial values
    of variables, ``weights``, and ``variables`` (RAM outside arena and context)."""

    code: int
    weights: int
    variables: int


def sections(path: Path) -> tuple[Section, ...]:
    """The sections of a little-endian ELF file; ``ToolFailed`` if it is none."""
    image = path.read_bytes()
    try:
        if image[:4] != b"\x7fELF" or image[5] != 1:
            raise ToolFailed("is not a little-endian ELF file", at=path.name)
        wide = image[4] == 2
        if wide:
            offset = struct.unpack_from("<Q", image, 40)[0]
            entry, count, names = struct.unpack_from("<HHH", image, 58)
            form = "<IIQQQQ"
        else:
            offset = struct.unpack_from("<I", image, 32)[0]
            entry, count, names = struct.unpack_from("<HHH", image, 46)
            form = "<IIIIII"
        headers = [
            struct.unpack_from(form, image, offset + entry * index) for index in range(count)
        ]
        table = headers[names][4]
        found = []
        for name, kind, flags, _address, _start, size in headers:
            start = table + name
            text = image[start : image.index(b"\0", start)].decode()
            found.append(Section(text, size, flags, kind == _NO_BITS))
        return tuple(found)
    except (struct.error, IndexError, ValueError):
        raise ToolFailed("is a broken ELF file", at=path.name) from None


def program_sizes(program: Path) -> Sizes:
    """Figures of a program linked by tinymill's linker script."""
    code = weights = variables = 0
    for section in sections(program):
        if section.name == WEIGHTS:
            weights += section.size
        elif section.name == WEIGHTS_IN_RAM:
            weights += section.size
            variables += section.size
        elif not section.name.startswith(HARNESS):
            code += section.size if section.in_flash else 0
            variables += section.size if section.in_ram else 0
    return Sizes(code, weights, variables)


def object_sizes(model: Path, weights: Path | None) -> Sizes:
    """Figures of a model's object files, for the host, where the linker adds its own.

    ``weights`` None leaves them out.
    """
    code = variables = 0
    for section in sections(model):
        if _unwinding(section):
            continue
        code += section.size if section.in_flash else 0
        variables += section.size if section.in_ram else 0
    weight_bytes = 0
    for section in () if weights is None else sections(weights):
        if not _unwinding(section):
            weight_bytes += section.size if section.in_flash else 0
            variables += section.size if section.in_ram else 0
    return Sizes(code, weight_bytes, variables)


def _unwinding(section: Section) -> bool:
    """Tables for debuggers and C++, which no microcontroller's image carries."""
    return section.name.startswith((".eh_frame", ".note", ".rela", ".rel."))
