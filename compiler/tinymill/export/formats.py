"""The formats: which template becomes which file. Adding one is a row here and its templates."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..boards import Board
from ..emit import environment
from ..errors import BoardError, InvalidInput
from ..share import share
from .facts import BoardFacts, facts_of
from .source import Exportable, library_files

PLAN = "plan.json"
CMAKE_TAKEN = frozenset(
    "all all_build clean depend edit_cache help install list_install_components package "
    "package_source preinstall rebuild_cache run run_tests test zero_check "
    # libraries of the system: a target of such a name is linked in their place
    "c dl gcc m pthread rt stdc supc".split()
)
"""Names that CMake keeps for itself or that are linked as libraries."""


@dataclass(frozen=True)
class Format:
    """One build system's shape. Paths may hold ``{name}``, the model's C name."""

    title: str
    sources: str
    """Folder of the model's files."""
    files: tuple[tuple[str, str], ...]
    """Path of each further file, and its template under templates/export/."""
    flags: bool = True
    """Whether the build files can pass compiler options for the model's sources alone."""
    board: str = ""
    """Folder for the target's start-up code and linker script; "" where the build system has its
    own."""


FORMATS: dict[str, Format] = {
    "cmake": Format(
        "a CMake project: a library to link, an example",
        "model",
        (
            ("CMakeLists.txt", "cmake/CMakeLists.txt.j2"),
            ("example/main.c", "common/main.c.j2"),
            ("README.md", "cmake/README.md.j2"),
        ),
        board="board",
    ),
    "make": Format(
        "a Makefile: a library to link, an example",
        "model",
        (
            ("Makefile", "make/Makefile.j2"),
            ("example/main.c", "common/main.c.j2"),
            ("README.md", "make/README.md.j2"),
        ),
        board="board",
    ),
    "arduino": Format(
        "an Arduino library with an example sketch",
        "src",
        (
            ("library.properties", "arduino/library.properties.j2"),
            ("keywords.txt", "arduino/keywords.txt.j2"),
            ("examples/run_{name}/run_{name}.ino", "arduino/run.ino.j2"),
            ("README.md", "arduino/README.md.j2"),
        ),
        flags=False,
    ),
    "platformio": Format(
        "a PlatformIO library with an example project",
        "src",
        (
            ("library.json", "platformio/library.json.j2"),
            ("examples/run_{name}/platformio.ini", "platformio/platformio.ini.j2"),
            ("examples/run_{name}/src/main.c", "common/main_plain.c.j2"),
            ("README.md", "platformio/README.md.j2"),
        ),
    ),
    "zephyr": Format(
        "a Zephyr module with a sample",
        "src",
        (
            ("zephyr/module.yml", "zephyr/module.yml.j2"),
            ("CMakeLists.txt", "zephyr/CMakeLists.txt.j2"),
            ("Kconfig", "zephyr/Kconfig.j2"),
            ("samples/run_{name}/CMakeLists.txt", "zephyr/sample.cmake.j2"),
            ("samples/run_{name}/prj.conf", "zephyr/prj.conf.j2"),
            ("samples/run_{name}/sample.yaml", "zephyr/sample.yaml.j2"),
            ("samples/run_{name}/src/main.c", "common/main_plain.c.j2"),
            ("README.md", "zephyr/README.md.j2"),
        ),
    ),
    "esp-idf": Format(
        "an ESP-IDF component with an example project",
        "src",
        (
            ("CMakeLists.txt", "esp-idf/CMakeLists.txt.j2"),
            ("idf_component.yml", "esp-idf/idf_component.yml.j2"),
            ("examples/run_{name}/CMakeLists.txt", "esp-idf/example.cmake.j2"),
            ("examples/run_{name}/main/CMakeLists.txt", "esp-idf/main.cmake.j2"),
            ("examples/run_{name}/main/idf_component.yml", "esp-idf/main_component.yml.j2"),
            ("examples/run_{name}/main/main.c", "esp-idf/main.c.j2"),
            ("README.md", "esp-idf/README.md.j2"),
        ),
    ),
    "cmsis-pack": Format(
        "a CMSIS-Pack with the model as a component and a main as a template",
        "src",
        (
            ("tinymill.{name}.pdsc", "cmsis-pack/pack.pdsc.j2"),
            ("template/main.c", "common/main_plain.c.j2"),
            ("README.md", "cmsis-pack/README.md.j2"),
        ),
        flags=False,
    ),
    "micropython": Format(
        "a MicroPython user C module",
        "src",
        (
            ("micropython.mk", "micropython/micropython.mk.j2"),
            ("micropython.cmake", "micropython/micropython.cmake.j2"),
            ("mod{name}.c", "micropython/module.c.j2"),
            ("example.py", "micropython/example.py.j2"),
            ("README.md", "micropython/README.md.j2"),
        ),
    ),
}


def check_format(name: str | None) -> str:
    """``name`` if it is a format. Raises ``InvalidInput`` with the list otherwise."""
    known = ", ".join(FORMATS)
    if name is None:
        raise InvalidInput("no format is given", hint=f"--format is one of {known}")
    if name not in FORMATS:
        raise InvalidInput(f"format is {name!r}, not one of {known}")
    return name


def export_files(model: Exportable, name: str) -> dict[str, str]:
    """All files of ``model`` in the format ``name``: relative path -> text.

    The same model gives the same text. Raises ``InvalidInput`` for an unknown format,
    ``InvalidModel`` for a plan.json that lacks something, ``BoardError`` for a board that the
    format can't start.
    """
    form = FORMATS[check_format(name)]
    facts = facts_of(model, name)
    files = library_files(model, form.sources, exact=not form.flags)
    templates = [(path.format(name=model.name), source) for path, source in form.files]
    if form.board and not facts.board.host:
        _check_start(model.board, name)
        files |= _start_files(form.board, facts.board)
        templates.append((f"{form.board}/link.ld", "common/link.ld.j2"))
        if name == "cmake":
            templates.append((f"cmake/{facts.board.name}.cmake", "cmake/toolchain.cmake.j2"))
    for path, source in templates:
        files[path] = (
            environment()
            .get_template(f"export/{source}")
            .render(
                model=facts,
                board=facts.board,
                name=facts.name,
                macro=facts.macro,
                target=f"tinymill-{facts.name}",
                link=_cmake_link(facts.name),
            )
        )
    files[PLAN] = json.dumps({**model.description, "export": name}, indent=1) + "\n"
    return dict(sorted(files.items()))


def _cmake_link(name: str) -> str:
    """What a CMake project links the model by: its name, unless that means something else there."""
    return f"tinymill::{name}" if name in CMAKE_TAKEN else name


def _check_start(board: Board, name: str) -> None:
    """Raises ``BoardError`` where an image needs what this start-up code and script lack."""
    others = [other for other, form in FORMATS.items() if not form.board]
    if board.boot is not None or any(region.data_address is not None for region in board.flash):
        raise BoardError(
            f"an image for {board.name} begins with boot blocks, which {name} has none of",
            hint=f"tinymill flash, or --format {', '.join(others)}",
        )


def _start_files(folder: str, board: BoardFacts) -> dict[str, str]:
    """The start-up code of the simulated boards and their console, as the example needs them."""
    names = (board.start, "start.h", "port.h", "semihosting.h", "port_semihosting.c")
    source = share("runtime_c") / "target"
    return {f"{folder}/{name}": (source / name).read_text(encoding="utf-8") for name in names}
