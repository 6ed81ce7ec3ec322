"""Exports: what can be built here is built and run; the rest is held to its documented shape."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tinymill
from conftest import ROOT, absent, need_tool
from tinymill.api import Compiled, Exported
from tinymill.errors import TinymillError
from tinymill.export import FORMATS

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
NAME = "fashion_mnist_int8"
ARM = "mps2-an386"
TARGETS = ("host", ARM)
WARNINGS = ("-Wall", "-Wextra", "-Werror")
INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)
VERSION = re.compile(r"\d+\.\d+\.\d+")

Write = Callable[..., Path]


@cache
def exported(form: str, target: str = "host") -> Exported:
    return tinymill.export_model(MODEL, format=form, target=target)


@cache
def compiled(target: str) -> Compiled:
    return tinymill.compile(MODEL, target=target)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an export of the shipped model as a folder of the model's name."""

    def at(form: str, target: str = "host") -> Path:
        folder = tmp_path / f"{form}-{target}" / NAME
        exported(form, target).write(folder)
        return folder

    return at


@cache
def expected() -> str:
    """What the example prints: the largest output for an input of zeros."""
    zeros = np.zeros((1, 1, 28, 28), np.int8)
    logits = tinymill.run(MODEL, input=zeros, layers=False).outputs[0]
    return f"{NAME}: output {int(logits.argmax())} is the largest"


def call(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        ["nice", *map(str, command)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"[:4000]
    assert "warning" not in done.stderr.lower(), done.stderr[:4000]
    return done.stdout


def two_inputs(path: Path) -> Path:
    """x of [1, 4] plus y of [1, 4], float."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 4)) for n in ("x", "y", "z")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"])], "g", ends[:2], ends[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path


def float_conv(path: Path) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weights = np.random.default_rng(3).normal(size=(4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path


# -- every format -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_holds_the_model_and_its_kernels_only(form: str, target: str) -> None:
    files = exported(form, target).files
    own = {path for path in compiled(target).files if path.startswith(("kernels/", NAME))}
    room = FORMATS[form].sources
    inside = {path.removeprefix(f"{room}/") for path in files if path.startswith(f"{room}/")}
    renamed = {re.sub(r"^(kernels/.*)\.c$", r"\1.inc", path) for path in own}
    assert inside == renamed
    # whoever compiles all C files below the folder compiles the right ones
    assert {p for p in inside if p.endswith(".c")} == {f"{NAME}.c", f"{NAME}_weights.c"}
    for path, text in files.items():
        if path.startswith(room):
            for header in INCLUDE.findall(text):
                assert (PurePosixPath(path).parent / header).as_posix() in files, (path, header)
        assert text.endswith("\n") and str(ROOT) not in text, path
    assert json.loads(files["plan.json"])["export"] == form
    readme = files["README.md"]
    assert f"{compiled(target).plan.arena_bytes:,}" in readme
    assert "-ffp-contract=off" in readme


def test_the_same_model_gives_the_same_text() -> None:
    assert tinymill.export_model(MODEL, format="cmake").files == exported("cmake").files


def test_the_numbers_flags_reach_every_format() -> None:
    for form, shape in FORMATS.items():
        files = exported(form, ARM).files
        pragma = 'optimize("fp-contract=off")' in files[f"{shape.sources}/{NAME}.c"]
        built = "".join(
            text
            for path, text in files.items()
            if path.endswith((".txt", ".mk", ".cmake", ".json", "Makefile")) and path != "plan.json"
        )
        assert pragma != ("-ffp-contract=off" in built), form


def test_a_compiled_folder_gives_the_same_files(tmp_path: Path) -> None:
    compiled(ARM).write(tmp_path / "project")
    for form in FORMATS:
        assert (
            tinymill.export_model(tmp_path / "project", format=form).files
            == exported(form, ARM).files
        )


def test_a_new_export_takes_the_place_of_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    exported("cmake", ARM).write(folder)
    exported("make").write(folder)
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == set(exported("make").files)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "cmak"}, "format is 'cmak', not one of cmake, make"),
        ({"format": "cmake", "target": "m4"}, "no board 'm4'"),
        ({"format": "cmake", "io": "float"}, "was compiled with io 'quantized'"),
        ({"format": "cmake", "name": "other"}, "was compiled with model"),
        ({"format": "cmake", "target": "host"}, "compiled for mps2-an386, not for host"),
        ({"format": "cmake", "shapes": {"x": [1]}}, "was compiled with its shapes"),
    ],
)
def test_a_folder_is_not_exported_otherwise(tmp_path: Path, options: dict, words: str) -> None:
    compiled(ARM).write(tmp_path / "project")
    with pytest.raises(TinymillError, match=re.escape(words)):
        tinymill.export_model(tmp_path / "project", output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    compiled("host").write(folder)
    for path in (f"{NAME}.h", "kernels/tm_status.h", "kernels/tm_conv2d_s8.c"):
        lost = folder / path
        if not lost.is_file():
            continue
        text = lost.read_text()
        lost.unlink()
        with pytest.raises(TinymillError, match="compile it again"):
            tinymill.export_model(folder, format="make")
        lost.write_text(text)
    plan = json.loads((folder / "plan.json").read_text())
    for key in ("arena", "weights_bytes", "stream_input"):
        broken = {k: v for k, v in plan.items() if k != key}
        (folder / "plan.json").write_text(json.dumps(broken))
        with pytest.raises(TinymillError, match=r"plan\.json is not whole"):
            tinymill.export_model(folder, format="make")


def test_an_export_is_no_project(tmp_path: Path) -> None:
    exported("make").write(tmp_path / "out")
    with pytest.raises(TinymillError, match=r"an export \(make\), no project"):
        tinymill.run(tmp_path / "out")
    with pytest.raises(TinymillError, match=r"an export \(make\), no project"):
        tinymill.export_model(tmp_path / "out", format="cmake")


# -- make -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_make_builds_and_runs(write: Write, target: str) -> None:
    need_tool("make", "gcc")
    if target == ARM:
        need_tool("arm-none-eabi-gcc", "qemu-system-arm")
    folder = write("make", target)
    flags = f"CFLAGS={' '.join(WARNINGS)}"
    assert expected() in call("make", "-s", flags, "run", cwd=folder)
    assert (folder / "build" / f"lib{NAME}.a").is_file()
    # nothing is built again, and what a changed kernel is part of is
    assert "Nothing to be done" in call("make", "-n", cwd=folder)
    kernel = next((folder / "model" / "kernels").glob("*.inc"))
    kernel.write_text(kernel.read_text())
    assert f"{NAME}.c" in call("make", "-n", cwd=folder)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (None, {"stream_input": True}),
        (float_conv, {"fast_ram": 512}),
        (float_conv, {"weights": "ram"}),
        (two_inputs, {}),
    ],
    ids=["rows", "two memories", "weights in RAM", "two inputs"],
)
def test_examples_of_other_interfaces_run(
    tmp_path: Path, source: Callable[[Path], Path] | None, options: dict
) -> None:
    need_tool("make", "gcc")
    model = MODEL if source is None else source(tmp_path / "model.onnx")
    tinymill.compile(model, output=tmp_path / "project", name="net", **options)
    for form in ("make", "micropython"):
        tinymill.export_model(tmp_path / "project", format=form, output=tmp_path / form)
    flags = f"CFLAGS=-O1 {' '.join(WARNINGS)}"
    text = call("make", "-s", flags, "run", cwd=tmp_path / "make")
    told = expected().replace(NAME, "net") if source is None else "net: output 0 is the largest"
    assert told in text
    module = (tmp_path / "micropython" / "modnet.c").read_text()
    assert ("push_rows" in module) == ("stream_input" in options)
    assert ("mod_slow" in module) == ("fast_ram" in options)


# -- CMake ------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_cmake_builds_and_runs(write: Write, target: str) -> None:
    need_tool("cmake", "gcc")
    folder = write("cmake", target)
    options = ["-DCMAKE_C_FLAGS_RELEASE=" + " ".join(WARNINGS)]
    if target == ARM:
        need_tool("arm-none-eabi-gcc", "qemu-system-arm")
        options.append(f"-DCMAKE_TOOLCHAIN_FILE=cmake/{ARM}.cmake")
    call("cmake", "-S", ".", "-B", "build", *options, cwd=folder)
    assert expected() in call("cmake", "--build", "build", "--target", "run", cwd=folder)


def test_cmake_export_is_a_part_of_another_project(tmp_path: Path) -> None:
    need_tool("cmake", "gcc")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(both C)\n"
        "add_subdirectory(first)\nadd_subdirectory(second)\n"
        "add_executable(both main.c)\ntarget_link_libraries(both PRIVATE first second)\n"
    )
    model = float_conv(tmp_path / "conv.onnx")
    for name in ("first", "second"):
        tinymill.export_model(model, format="cmake", output=tmp_path / name, name=name)
    (tmp_path / "main.c").write_text(
        '#include "first.h"\n#include "second.h"\n'
        "int main(void) { return first_input_bytes(0) != second_input_bytes(0); }\n"
    )
    call("cmake", "-S", ".", "-B", "build", cwd=tmp_path)
    call("cmake", "--build", "build", cwd=tmp_path)
    call(tmp_path / "build" / "both")
    assert not list((tmp_path / "build").rglob("run_first"))


NAMES = ("m", "run", "all", "help", "install", "c", "run_run", "层")


def test_names_that_mean_something_to_cmake(tmp_path: Path) -> None:
    """Each as a project of its own, and all in one, linked by what its CMakeLists.txt says."""
    need_tool("cmake", "gcc")
    model = float_conv(tmp_path / "conv.onnx")
    parts, links = [], []
    for name in NAMES:
        found = tinymill.export_model(model, format="cmake", name=name)
        found.write(tmp_path / found.name)
        parts.append(f"add_subdirectory({found.name})")
        links.append(re.findall(r"your_program PRIVATE (\S+)\)", found.files["CMakeLists.txt"])[0])
    assert links[0] == "tinymill::m" and links[-1] == "model"
    call("cmake", "-S", "m", "-B", "alone", cwd=tmp_path)
    assert "is the largest" in call("cmake", "--build", "alone", "--target", "run", cwd=tmp_path)
    options = [f"-D{link.rpartition(':')[2].upper()}_EXAMPLE=ON" for link in links]
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(whole C)\n"
        + "\n".join(parts)
        + f"\nadd_executable(whole main.c)\ntarget_link_libraries(whole {' '.join(links)})\n"
    )
    calls = [f'#include "{link.rpartition(":")[2]}.h"' for link in links]
    sums = " + ".join(f"{link.rpartition(':')[2]}_input_bytes(0)" for link in links)
    (tmp_path / "main.c").write_text(
        "\n".join(calls) + f"\nint main(void) {{ return ({sums}) == 0; }}\n"
    )
    call("cmake", "-S", ".", "-B", "build", *options, cwd=tmp_path)
    call("cmake", "--build", "build", cwd=tmp_path)
    call(tmp_path / "build" / "whole")


@pytest.mark.parametrize("name", ["all", "port_semihosting"])
def test_names_that_mean_something_to_the_makefile(tmp_path: Path, name: str) -> None:
    target = ARM if name == "port_semihosting" else "host"
    need_tool("make", "gcc", *(["arm-none-eabi-gcc", "qemu-system-arm"] if target == ARM else []))
    model = float_conv(tmp_path / "conv.onnx")
    tinymill.export_model(model, format="make", output=tmp_path / "out", name=name, target=target)
    assert f"{name}: output" in call("make", "-s", "run", cwd=tmp_path / "out")


# -- Arduino ----------------------------------------------------------------------------------

# the fields of library.properties that the specification asks for, and its categories
ARDUINO_FIELDS = ("name", "version", "author", "maintainer", "sentence", "paragraph", "category",
                  "url", "architectures")  # fmt: skip
ARDUINO_CATEGORIES = ("Display", "Communication", "Signal Input/Output", "Sensors",
                      "Device Control", "Timing", "Data Storage", "Data Processing",
                      "Other")  # fmt: skip
ARDUINO_ROOT = {"library.properties", "keywords.txt", "src", "examples", "README.md", "plan.json"}


def test_arduino_layout(write: Write) -> None:
    folder = write("arduino", ARM)
    lines = (folder / "library.properties").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines)
    assert all(fields[key] for key in ARDUINO_FIELDS)
    name = fields["name"]
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.\-]{0,62}", name)
    assert not name.lower().startswith("arduino")
    assert VERSION.fullmatch(fields["version"])
    assert fields["category"] in ARDUINO_CATEGORIES and fields["architectures"] == "*"
    assert not fields["paragraph"].startswith(fields["sentence"])
    assert (folder / "src" / fields["includes"]).is_file()
    assert {path.name for path in folder.iterdir()} == ARDUINO_ROOT
    (example,) = (folder / "examples").iterdir()
    assert [path.name for path in example.iterdir()] == [f"{example.name}.ino"]
    for line in (folder / "keywords.txt").read_text().splitlines():
        assert re.fullmatch(r"\w+\t(KEYWORD1|KEYWORD2|LITERAL1)", line)


def test_arduino_names_fit(tmp_path: Path) -> None:
    for name in ("arduino", "x" * 200):
        files = tinymill.export_model(MODEL, format="arduino", name=name).files
        told = files["library.properties"].splitlines()[0].removeprefix("name=")
        assert len(told) <= 63 and not told.startswith("arduino")


def test_arduino_sources_compile_as_an_arduino_core_compiles_them(write: Write) -> None:
    """Every .c below src by itself, with an Arduino core's options; linked with the board's
    start-up code of the Makefile export, the result is the same."""
    need_tool("arm-none-eabi-gcc", "arm-none-eabi-g++", "qemu-system-arm")
    folder = write("arduino", ARM)
    core = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os",
            "-ffunction-sections", "-fdata-sections", "-Isrc", *WARNINGS]  # fmt: skip
    objects = []
    for source in sorted((folder / "src").rglob("*.c")):
        objects.append(folder / f"{source.stem}.o")
        call("arm-none-eabi-gcc", *core, "-std=gnu11", "-c", source, "-o", objects[-1], cwd=folder)
    board = write("make", ARM)
    mains = (board / "example/main.c", board / "board/start_arm.c",
             board / "board/port_semihosting.c")  # fmt: skip
    link = ("-T", board / "board/link.ld", "-nostartfiles", "-static", "-Wl,--gc-sections",
            "-Wl,--no-warn-rwx-segments", "-lm")  # fmt: skip
    program = folder / "program.elf"
    call("arm-none-eabi-gcc", *core, "-std=gnu11", *mains, *objects, *link, "-o", program,
         cwd=folder)  # fmt: skip
    qemu = ("qemu-system-arm", "-machine", ARM, "-display", "none", "-monitor", "none",
            "-serial", "none", "-semihosting-config", "enable=on,target=native")  # fmt: skip
    assert expected() in call(*qemu, "-kernel", program)
    # the sketch, behind the prototypes that the core's header has
    (folder / "Arduino.h").write_text(
        "#include <stdint.h>\n#include <stddef.h>\n"
        "struct Port { void begin(long); void print(const char *); void print(long);\n"
        "  void print(unsigned long); void println(const char *); void println(long); };\n"
        "extern Port Serial; unsigned long micros(); void delay(unsigned long);\n"
        "void setup(); void loop();\n"
    )
    sketch = folder / "examples" / f"run_{NAME}" / f"run_{NAME}.ino"
    call("arm-none-eabi-g++", *core, "-std=gnu++11", "-x", "c++", "-include", "Arduino.h", "-I.",
         "-c", sketch, "-o", "sketch.o", cwd=folder)  # fmt: skip


def test_without_flags_no_product_and_sum_is_fused(tmp_path: Path) -> None:
    """The pragma does what -ffp-contract=off does, on a core with fused multiply-adds."""
    need_tool("arm-none-eabi-gcc")
    model = float_conv(tmp_path / "conv.onnx")
    core = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os", "-S",
            "-std=gnu11", "-o", "-")  # fmt: skip
    for form in ("arduino", "cmsis-pack"):
        tinymill.export_model(model, format=form, target=ARM, output=tmp_path / form)
        source = tmp_path / form / "src" / "conv.c"
        text = call("arm-none-eabi-gcc", *core, source)
        assert "vfm" not in text
        source.write_text(source.read_text().replace("#pragma GCC optimize", "#pragma GCC other"))
        assert "vfm" in call("arm-none-eabi-gcc", *core, source)


# -- PlatformIO -------------------------------------------------------------------------------


def test_platformio_reads_its_manifest_and_project(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("platformio")
    from platformio.package.manifest.parser import ManifestParserFactory  # noqa: PLC0415
    from platformio.package.manifest.schema import ManifestSchema  # noqa: PLC0415
    from platformio.project.config import ProjectConfig  # noqa: PLC0415

    folder = write("platformio", ARM)
    parsed = ManifestParserFactory.new_from_file(str(folder / "library.json")).as_dict()
    found = ManifestSchema().load_manifest(parsed)
    assert found["name"] == NAME and VERSION.fullmatch(found["version"])
    assert parsed["build"]["flags"] == ["-ffp-contract=off"]
    assert (folder / parsed["build"]["srcDir"] / found["headers"][0]).is_file()
    (example,) = found["examples"]
    assert all((folder / example["base"] / name).is_file() for name in example["files"])
    base = folder / example["base"]
    monkeypatch.chdir(base)
    project = ProjectConfig(str(base / "platformio.ini"))
    assert project.validate(["native"])
    assert project.get("env:native", "lib_deps") == ["symlink://../.."]
    # and a parser that refuses
    (folder / "library.json").write_text(
        (folder / "library.json").read_text().replace('"1.0.0"', '"one"')
    )
    parsed = ManifestParserFactory.new_from_file(str(folder / "library.json")).as_dict()
    with pytest.raises(Exception, match="version"):
        ManifestSchema().load_manifest(parsed)


def test_platformio_example_compiles(write: Write, tmp_path: Path) -> None:
    need_tool("gcc")
    folder = write("platformio")
    sources = [*(folder / "src").rglob("*.c"), folder / "examples" / f"run_{NAME}" / "src/main.c"]
    program = tmp_path / "program"
    call("gcc", "-std=c11", "-O2", "-ffp-contract=off", *WARNINGS, f"-I{folder}/src", *sources,
         "-lm", "-o", program)  # fmt: skip
    assert expected() in call(program)


# -- Zephyr and ESP-IDF -----------------------------------------------------------------------

# What the build systems' own commands do, as far as a component asks for it.
ZEPHYR_COMMANDS = """
macro(zephyr_library_named name)
  add_library(${name} STATIC)
  set(_library ${name})
endmacro()
macro(zephyr_library_sources)
  target_sources(${_library} PRIVATE ${ARGN})
endmacro()
macro(zephyr_library_compile_options)
  target_compile_options(${_library} PRIVATE ${ARGN})
endmacro()
macro(zephyr_include_directories)
  include_directories(${ARGN})
endmacro()
"""
ESP_COMMANDS = """
function(idf_component_register)
  cmake_parse_arguments(PARSE_ARGV 0 its "" "" "SRCS;INCLUDE_DIRS")
  add_library(component STATIC ${its_SRCS})
  target_include_directories(component PUBLIC ${its_INCLUDE_DIRS})
  set(COMPONENT_LIB component PARENT_SCOPE)
endfunction()
"""


def build_component(folder: Path, commands: str, library: str, more: str = "") -> None:
    """Builds a component under stand-ins for its build system's commands; links its example."""
    need_tool("cmake", "gcc")
    driver = folder.parent / "driver"
    driver.mkdir()
    (driver / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(driver C)\nset(CMAKE_C_STANDARD 11)\n"
        f"add_compile_options({' '.join(WARNINGS)})\n{commands}\n{more}\n"
        f"add_subdirectory({folder} its)\n"
    )
    call("cmake", "-S", driver, "-B", driver / "build")
    call("cmake", "--build", driver / "build", "--target", library)
    assert list((driver / "build").rglob(f"lib{library}.a"))


def test_zephyr_module(write: Write) -> None:
    yaml = pytest.importorskip("yaml")
    folder = write("zephyr")
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    assert module == {
        "name": NAME,
        "build": {"cmake": ".", "kconfig": "Kconfig"},
        "samples": ["samples"],
    }
    sample = folder / "samples" / f"run_{NAME}"
    told = yaml.safe_load((sample / "sample.yaml").read_text())
    assert told["sample"]["name"] and all(
        isinstance(test["min_ram"], int) for test in told["tests"].values()
    )
    assert "find_package(Zephyr" in (sample / "CMakeLists.txt").read_text()
    assert "EXTRA_ZEPHYR_MODULES" in (sample / "CMakeLists.txt").read_text()
    build_component(
        folder, ZEPHYR_COMMANDS, f"tinymill_{NAME}", f"set(CONFIG_TINYMILL_{NAME.upper()} y)"
    )


def test_zephyr_kconfig(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    kconfiglib = pytest.importorskip("kconfiglib")
    folder = write("zephyr")
    (folder / "Kconfig.top").write_text(
        f'config REQUIRES_FULL_LIBC\n\tbool\nsource "{folder}/Kconfig"\n'
    )
    monkeypatch.setenv("KCONFIG_WARN_UNDEF", "y")
    found = kconfiglib.Kconfig(str(folder / "Kconfig.top"), warn_to_stderr=False)
    sample = folder / "samples" / f"run_{NAME}"
    settings = [line for line in (sample / "prj.conf").read_text().splitlines() if line[0] != "#"]
    own = folder / "own.conf"
    own.write_text("".join(f"{line}\n" for line in settings if "TINYMILL" in line))
    found.load_config(str(own))
    assert found.warnings == []
    assert found.syms["REQUIRES_FULL_LIBC"].str_value == "y"


def test_esp_idf_component(write: Write, tmp_path: Path) -> None:
    folder = write("esp-idf")
    example = folder / "examples" / f"run_{NAME}"
    main = (example / "main" / "main.c").read_text()
    assert "void app_main(void)" in main
    assert "tools/cmake/project.cmake" in (example / "CMakeLists.txt").read_text()
    build_component(folder, ESP_COMMANDS, "component")
    (tmp_path / "esp_log.h").write_text(
        "#include <stdio.h>\n#define ESP_LOGI(tag, ...) (void)(tag), (void)printf(__VA_ARGS__)\n"
        "#define ESP_LOGE ESP_LOGI\n"
    )
    call("gcc", "-std=c11", *WARNINGS, f"-I{folder}/src", f"-I{tmp_path}", "-fsyntax-only",
         example / "main" / "main.c")  # fmt: skip


def test_esp_idf_manifest(write: Write) -> None:
    tools = pytest.importorskip("idf_component_tools.manager")
    folder = write("esp-idf")
    manifest = tools.ManifestManager(str(folder), NAME).load()
    assert str(manifest.version) == "1.0.0"
    assert [str(need.name) for need in manifest.requirements] == ["idf"]
    assert (folder / manifest.examples[0]["path"]).is_dir()
    main = folder / "examples" / f"run_{NAME}" / "main"
    needed = tools.ManifestManager(str(main), "main").load()
    text = (main / "idf_component.yml").read_text()
    assert needed.requirements and (main / "../../..").resolve() == folder.resolve()
    assert "override_path: ../../.." in text
    (folder / "idf_component.yml").write_text("version: one\n")
    with pytest.raises(Exception, match="not valid"):
        tools.ManifestManager(str(folder), NAME).load()


# -- CMSIS-Pack -------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_cmsis_pack_description(write: Write, target: str) -> None:
    folder = write("cmsis-pack", target)
    (path,) = folder.glob("*.pdsc")
    package = ET.parse(path).getroot()
    assert package.tag == "package" and package.get("schemaVersion") == "1.7.7"
    vendor, name = package.findtext("vendor"), package.findtext("name")
    assert path.name == f"{vendor}.{name}.pdsc"
    assert all(re.fullmatch(r"[-_A-Za-z0-9]+", text or "") for text in (vendor, name))
    order = ["vendor", "name", "description", "url", "releases", "keywords", "conditions",
             "components"]  # fmt: skip
    tags = [child.tag for child in package]
    assert tags == [tag for tag in order if tag in tags]
    release = package.find("releases/release")
    assert release is not None and VERSION.fullmatch(release.get("version", ""))
    conditions = {each.get("id") for each in package.iter("condition")}
    (component,) = package.iter("component")
    assert {"Cclass", "Cgroup", "Cversion"} <= set(component.keys())
    assert ({component.get("condition")} - {None}) == conditions
    assert conditions == ({"core"} if target == ARM else set())
    named = {file.get("name", ""): file for file in component.iter("file")}
    assert all((folder / name).exists() for name in named)
    sources = {name for name, file in named.items() if file.get("category") == "sourceC"}
    assert {f"src/{p.name}" for p in (folder / "src").glob("*.c")} <= sources
    template = [file for file in named.values() if file.get("attr") == "template"]
    assert [file.get("select") for file in template] == [f"Run {NAME} once"]
    need_tool("gcc")
    call(
        "gcc", "-std=c11", *WARNINGS, f"-I{folder}/src", "-fsyntax-only", folder / "template/main.c"
    )


@pytest.mark.parametrize("feature", ["step", "frontend"])
def test_windows_and_front_ends_come_along(feature: str, tmp_path: Path) -> None:
    need_tool("make", "gcc")
    (tmp_path / "front.toml").write_text('kind = "motion"\naxes = 24\n')
    model = float_conv(tmp_path / "conv.onnx")
    options = {"step": 2} if feature == "step" else {"frontend": tmp_path / "front.toml"}
    tinymill.compile(model, output=tmp_path / "project", **options)
    for form in FORMATS:
        exported = tinymill.export_model(tmp_path / "project", format=form)
        assert any("tm_front" in path for path in exported.files) == (feature == "frontend")
        text = "".join(text for path, text in exported.files.items() if "/kernels/" not in path)
        assert ("conv_step(&" in text) == (feature == "step"), form
    tinymill.export_model(tmp_path / "project", format="make", output=tmp_path / "made")
    assert "is the largest" in call("make", "-s", "-C", tmp_path / "made", "run")


@pytest.mark.parametrize("board", ["rp2040-pico", "esp32c3-devkit"])
def test_boot_blocks_are_no_export_s(board: str) -> None:
    for form, shape in FORMATS.items():
        if shape.board:
            with pytest.raises(TinymillError, match=f"an image for {board} begins with boot"):
                tinymill.export_model(MODEL, format=form, target=board)
        else:
            assert tinymill.export_model(MODEL, format=form, target=board).files


# -- MicroPython ------------------------------------------------------------------------------


def test_micropython_module(write: Write, tmp_path: Path) -> None:
    need_tool("make", "cmake", "gcc")
    folder = write("micropython")
    (tmp_path / "Makefile").write_text(
        f"USERMOD_DIR := {folder}\ninclude {folder}/micropython.mk\n"
        "all:\n\t@echo $(SRC_USERMOD_C) $(SRC_USERMOD_LIB_C)\n\t@echo $(CFLAGS_USERMOD)\n"
    )
    sources, flags = call("make", "-s", "-C", tmp_path, "--no-print-directory").splitlines()
    names = {Path(source).name for source in sources.split()}
    assert names == {f"mod{NAME}.c", f"{NAME}.c", f"{NAME}_weights.c"}
    assert all(Path(source).is_file() for source in sources.split())
    assert flags == f"-I{folder}/src -ffp-contract=off"
    module = (folder / f"mod{NAME}.c").read_text()
    assert f"MP_REGISTER_MODULE(MP_QSTR_{NAME}, " in module
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(driver C)\nadd_library(usermod INTERFACE)\n"
        f"include({folder}/micropython.cmake)\n"
        "get_target_property(its usermod INTERFACE_LINK_LIBRARIES)\n"
        "get_target_property(sources ${its} INTERFACE_SOURCES)\n"
        "foreach(source ${sources})\n"
        "  if(NOT EXISTS ${source})\n    message(FATAL_ERROR ${source})\n  endif()\nendforeach()\n"
        'message(STATUS "sources ${sources}")\n'
    )
    assert f"mod{NAME}.c" in call("cmake", "-S", driver, "-B", driver / "build")


def test_micropython_firmware(tmp_path: Path) -> None:
    """The unix port with the module, where ``TINYMILL_MICROPYTHON`` names MicroPython's sources."""
    source = os.environ.get("TINYMILL_MICROPYTHON")
    if not source:
        pytest.skip("TINYMILL_MICROPYTHON names no tree of MicroPython")
    for name, options in (("net", {}), ("rows", {"stream_input": True})):
        folder = tmp_path / "modules" / name
        tinymill.export_model(MODEL, format="micropython", name=name, output=folder, **options)
    tree = tmp_path / "micropython"
    shutil.copytree(source, tree, ignore=shutil.ignore_patterns("build*"))
    for part in ("mpy-cross", "ports/unix"):
        command = ["make", "-s", "-j2", "-C", tree / part, "VARIANT=minimal",
                   f"USER_C_MODULES={tmp_path}/modules"]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "try.py").write_text(
        "import net, rows\n"
        "print(net.run(bytes(784)))\n"
        "print(rows.push_rows(bytes(28)), rows.push_rows(bytes(27 * 28)))\n"
        "for wrong in (lambda: net.run(bytes(3)), lambda: rows.push_rows(bytes(3))):\n"
        "  try:\n    wrong()\n  except ValueError as error:\n    print('refused')\n"
    )
    python = tree / "ports/unix/build-minimal/micropython"
    told = call(python, tmp_path / "try.py").splitlines()
    zeros = np.zeros((1, 1, 28, 28), np.int8)
    logits = tinymill.run(MODEL, input=zeros, layers=False).outputs[0].tobytes()
    assert told == [repr(logits), f"None {logits!r}", "refused", "refused"]


def test_nothing_here_needs_what_only_some_have() -> None:
    """In CI the packages that check manifests must be there."""
    for package in ("platformio", "kconfiglib", "idf_component_tools", "yaml"):
        try:
            __import__(package)
        except ImportError:
            absent(f"{package} is not installed: pip install 'tinymill[test]'")
