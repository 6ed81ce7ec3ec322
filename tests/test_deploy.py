"""Building, running and measuring, on a model written by hand whose figures are known."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from conftest import absent, need_tool
from tinymill.boards import Board, list_boards, load_board
from tinymill.deploy import Measurement, build, measure, missing, target_files, toolchain
from tinymill.deploy import host as host_runner
from tinymill.deploy import qemu as qemu_runner
from tinymill.deploy.build import compile_argv, link_argv
from tinymill.deploy.measure import parse_report
from tinymill.deploy.process import Ended
from tinymill.deploy.recipe import recipe
from tinymill.deploy.size import object_sizes, program_sizes, sections
from tinymill.errors import BoardError, OutOfMemory, ToolFailed, ToolMissing

SIMULATED = tuple(name for name in list_boards() if load_board(name).simulator is not None)
WEIGHTS = 1000

STATUS = """
#ifndef TM_STATUS_H
#define TM_STATUS_H
typedef enum { TM_OK = 0, TM_ERROR_ARENA = 1, TM_ERROR_TOY = 7 } tm_status;
#endif
"""

HEADER = """
#ifndef TOY_H
#define TOY_H
#include <stddef.h>
#include <stdint.h>
#include "kernels/tm_status.h"
#define TOY_ARENA_BYTES {arena}
#define TOY_FRAME_INPUT_BYTES 16
#define TOY_FRAME_OUTPUT_BYTES 16
#define TOY_LAYER_COUNT {layers}
#define TOY_INPUT_COUNT 2
#define TOY_OUTPUT_COUNT 1
typedef struct toy_context {{ int8_t *arena; }} toy_context;
tm_status toy_init(toy_context *context, void *arena, size_t arena_bytes);
void *toy_input(toy_context *context, int index);
size_t toy_input_bytes(int index);
const void *toy_output(const toy_context *context, int index);
size_t toy_output_bytes(int index);
tm_status toy_run(toy_context *context);
#endif
"""

SOURCE = """
#include "toy.h"
#include "toy_weights.h"
#ifdef TM_PROFILE
void tm_profile(int32_t layer);
#define LAYER(index) tm_profile(index)
#else
#define LAYER(index) ((void)0)
#endif
{declarations}
tm_status toy_init(toy_context *context, void *arena, size_t arena_bytes)
{{
    if (arena_bytes < TOY_ARENA_BYTES) {{
        return TM_ERROR_ARENA;
    }}
    context->arena = arena;
    return TM_OK;
}}
void *toy_input(toy_context *context, int index)
{{
    return context->arena + (index == 0 ? 0 : 12);
}}
size_t toy_input_bytes(int index)
{{
    return index == 0 ? 12u : 4u;
}}
const void *toy_output(const toy_context *context, int index)
{{
    (void)index;
    return context->arena + 16;
}}
size_t toy_output_bytes(int index)
{{
    (void)index;
    return 16;
}}
tm_status toy_run(toy_context *context)
{{
{body}
}}
"""

# Adds the weights to the input, by way of an array on the stack.
ADD = """
    volatile int8_t deep[{stack}];
    for (int i = 0; i < {stack}; ++i) {{
        deep[i] = context->arena[i % 16];
    }}
    for (int i = 0; i < 16; ++i) {{
        context->arena[16 + i] = (int8_t)(deep[i] + toy_weights[i]);
    }}
    LAYER(0);
    return TM_OK;
"""

KEEP = """
    (void)context;
    return toy_weights[0] == 0 ? TM_OK : TM_ERROR_TOY;
"""


def need(board: Board) -> None:
    """Skips (in CI: fails) where the board's tools are not installed."""
    lacking = missing(board)
    if lacking:
        absent(f"{', '.join(lacking)} not installed")


def write_toy(
    folder: Path,
    board: Board,
    body: str,
    *,
    declarations: str = "",
    arena: int = 32,
    layers: int = 1,
    weights: int = WEIGHTS,
) -> Path:
    """A project as the emitter writes it."""
    files = {
        "kernels/tm_status.h": STATUS,
        "toy.h": HEADER.format(arena=arena, layers=layers),
        "toy.c": SOURCE.format(body=body, declarations=declarations),
        "toy_weights.h": f"#include <stdint.h>\nextern const int8_t toy_weights[{weights}];\n",
        "toy_weights.c": '#include "toy_weights.h"\n'
        f"const int8_t toy_weights[{weights}] = {{0, 1, 2, 3, 4, 5, 6, 7}};\n",
        "plan.json": "{}\n",
    }
    files |= target_files(board, "toy", arena_bytes=arena, weights_bytes=weights)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


def nops(count: int) -> str:
    return f'    __asm__ volatile(".rept {count}\\n\\tnop\\n\\t.endr");\n'


def loop(board: Board, rounds: int) -> str:
    """2 * rounds instructions, and those that load the count."""
    if board.compiler.family == "arm-none-eabi":
        lines = ".syntax unified\\n1:\\n\\tsubs %0, %0, #1\\n\\tbne 1b"
        operands = ' : "+l"(left) : : "cc"'
    else:
        lines = "1:\\n\\taddi %0, %0, -1\\n\\tbnez %0, 1b"
        operands = ' : "+r"(left)'
    return (
        "    {\n"
        f"        volatile uint32_t rounds = {rounds}u;\n"
        "        uint32_t left = rounds;\n"
        f'        __asm__ volatile("{lines}"{operands});\n'
        "    }\n"
    )


def expected(frames: bytes) -> bytes:
    return bytes(
        (value + (i % 16 if i % 16 < 8 else 0)) % 256 for i, value in enumerate(frames)
    )  # fmt: skip


FRAMES = bytes(range(100, 148))


# Exact calls -----------------------------------------------------------------------------


def test_qemu_argv() -> None:
    simulator = load_board("mps2-an386").simulator
    assert simulator is not None
    assert qemu_runner.argv(simulator, "main") == (
        "qemu-system-arm", "-machine", "mps2-an386", "-display", "none", "-monitor", "none",
        "-serial", "none", "-icount", "shift=0", "-semihosting-config",
        "enable=on,target=native", "-kernel", "main",
    )  # fmt: skip
    simulator = load_board("riscv32-virt").simulator
    assert simulator is not None
    assert qemu_runner.argv(simulator, "main") == (
        "qemu-system-riscv32", "-machine", "virt", "-bios", "none", "-m", "128M", "-display",
        "none", "-monitor", "none", "-serial", "none", "-icount", "shift=0",
        "-semihosting-config", "enable=on,target=native", "-kernel", "main",
    )  # fmt: skip
    assert host_runner.argv("/x/main") == ("/x/main",)


def test_compiler_argv() -> None:
    steps = recipe(load_board("mps2-an386"), "toy", profile=True)
    model = next(unit for unit in steps.units if unit.source == "toy.c")
    assert compile_argv(("arm-none-eabi-gcc",), steps, model, Path("/p")) == (
        "arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16",
        "-mfloat-abi=hard", "-O2", "-std=c11", "-Wall", "-Wextra", "-Wpedantic",
        "-Wconversion", "-Werror", "-ffp-contract=off", "-ffunction-sections",
        "-fdata-sections", "-DTM_PROFILE", "-c", "-o", "model/toy.o", "/p/toy.c",
    )  # fmt: skip
    assert link_argv(("arm-none-eabi-gcc",), steps, Path("/p")) == (
        "arm-none-eabi-gcc", "-T", "/p/target/link.ld", "-o", "main", "harness/main.o",
        "harness/measure_simulated.o", "harness/stack.o", "harness/port_semihosting.o",
        "harness/start_arm.o",
        "model/toy.o", "model/toy_weights.o", "-mcpu=cortex-m4", "-mthumb",
        "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-nostartfiles", "-static",
        "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments", "-Wl,--nmagic", "-lm",
    )  # fmt: skip
    steps = recipe(load_board("host"), "toy", sanitize=True)
    assert link_argv(("clang", "-m64"), steps, Path("/p")) == (
        "clang", "-m64", "-o", "main", "harness/main.o", "harness/measure_host.o",
        "harness/port_host.o", "model/toy.o", "model/toy_weights.o",
        "-fsanitize=address,undefined", "-Wl,--gc-sections", "-Wl,-z,now", "-lm",
    )  # fmt: skip


def test_which_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    host, arm = load_board("host"), load_board("mps2-an386")
    monkeypatch.delenv("TINYMILL_CC", raising=False)
    assert toolchain.compiler_name(host) == ("cc",)
    monkeypatch.setenv("TINYMILL_CC", "clang -m64")
    assert toolchain.compiler_name(host) == ("clang", "-m64")
    assert toolchain.compiler_name(host, "gcc") == ("gcc",)
    assert toolchain.compiler_name(arm) == ("arm-none-eabi-gcc",)
    assert toolchain.compiler_name(arm, "/opt/my gcc".replace(" ", "-")) == ("/opt/my-gcc",)
    with pytest.raises(BoardError, match="No closing quotation"):
        toolchain.compiler_name(host, 'gcc "')


def test_missing_tools_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TINYMILL_CC", raising=False)
    arm = load_board("mps2-an386")
    with pytest.raises(ToolMissing) as caught:
        toolchain.compiler(arm)
    assert str(caught.value) == (
        "arm-none-eabi-gcc is not installed (install it with: "
        "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi)"
    )
    assert missing(arm) == ("arm-none-eabi-gcc", "qemu-system-arm")
    assert missing(load_board("host")) == ("cc",)


# The project's own files -----------------------------------------------------------------


@pytest.mark.parametrize("name", list_boards())
def test_target_files_are_the_same_each_time(name: str) -> None:
    board = load_board(name)
    first = target_files(board, "toy", arena_bytes=64, weights_bytes=64)
    assert first == target_files(board, "toy", arena_bytes=64, weights_bytes=64)
    assert set(first) == {"Makefile", *(path for path in first if path.startswith("target/"))}
    for content in first.values():
        assert "/work/" not in content and "/home/" not in content
        assert content.endswith("\n")


def region_of(board: Board, section: str, *, arena: int = 64, weights: int = 64) -> str:
    script = target_files(board, "toy", arena_bytes=arena, weights_bytes=weights)["target/link.ld"]
    line = next(line for line in script.splitlines() if line.strip().startswith(section))
    return line.split(">")[-1].strip()


def test_regions_are_chosen_by_size() -> None:
    board = load_board("mps3-an547")
    assert region_of(board, ".tm_arena") == "dtcm"
    assert region_of(board, ".tm_arena", arena=0x7F000) == "sram"
    assert region_of(board, ".tm_arena", arena=3 << 20) == "isram"
    assert region_of(board, ".tm_arena", arena=9 << 30) == "ddr"
    assert region_of(board, ".tm_weights") == "itcm"
    assert region_of(board, ".tm_weights", weights=0x7F000) == "qspi"
    assert region_of(load_board("microbit"), ".tm_arena", arena=16000) == "ram"


@pytest.mark.parametrize("name", ["host", "mps2-an386"])
def test_the_makefile_builds_and_runs(tmp_path: Path, name: str) -> None:
    board = load_board(name)
    need(board)
    project = write_toy(tmp_path / "toy", board, ADD.format(stack=64))
    (project / "input.bin").write_bytes(FRAMES)
    done = subprocess.run(
        ["make", "run"], cwd=project, capture_output=True, text=True, check=True, timeout=60
    )
    assert "status 0\nframes 3\n" in done.stdout
    assert (project / "output.bin").read_bytes() == expected(FRAMES)


# The host --------------------------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("sanitize", [False, True])
def test_host(tmp_path: Path, cc: str, sanitize: bool) -> None:
    need_tool(cc)
    board = load_board("host")
    project = write_toy(
        tmp_path / "toy",
        board,
        "    counts[0] += 1;\n    rows[3] = 1;\n" + ADD.format(stack=3000),
        declarations="static volatile int32_t counts[7] = {1, 2, 3, 4, 5, 6, 7};\n"
        "static volatile int8_t rows[40];\n",
    )
    files = snapshot(project)
    result = measure(
        project, board, FRAMES, model="toy", profile=True, cc=cc, sanitize=sanitize, timeout=60
    )
    assert result.outputs == expected(FRAMES)
    assert result.status == 0
    assert (result.instructions, result.layer_instructions) == (None, None)
    assert (result.arena, result.weights) == (32, WEIGHTS if not sanitize else result.weights)
    if sanitize:
        assert result.stack is None
    else:
        assert result.stack is not None
        assert 3000 <= result.stack < 3000 + 200
        assert result.static == 8 + 7 * 4 + 40
    assert snapshot(project) == files


def test_the_sanitizers_report(tmp_path: Path) -> None:
    board = load_board("host")
    need(board)
    body = "    volatile int8_t few[4] = {0};\n    volatile int index = 4;\n" + (
        "    return few[index] == context->arena[0] ? TM_OK : TM_ERROR_TOY;\n"
    )
    project = write_toy(tmp_path / "toy", board, body)
    with pytest.raises(ToolFailed) as caught:
        measure(project, board, bytes(16), model="toy", sanitize=True, timeout=60)
    assert "index 4 out of bounds" in str(caught.value)
    assert "\n" not in str(caught.value)


# Failures --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["host", "mps2-an386"])
def test_a_hang_is_killed(tmp_path: Path, name: str) -> None:
    board = load_board(name)
    need(board)
    body = "    for (volatile int on = 1; on != 0;) {\n    }\n" + KEEP
    project = write_toy(tmp_path / "toy", board, body)
    with pytest.raises(ToolFailed, match=r"was stopped: no end after 3 s$"):
        measure(project, board, bytes(16), model="toy", timeout=3)


def test_an_input_that_ends_inside_a_frame(tmp_path: Path) -> None:
    board = load_board("host")
    need(board)
    project = write_toy(tmp_path / "toy", board, ADD.format(stack=64))
    with pytest.raises(ToolFailed, match=r"^host: the input ends inside a frame$"):
        measure(project, board, bytes(17), model="toy", timeout=60)


def test_a_status_is_reported(tmp_path: Path) -> None:
    board = load_board("mps2-an386")
    need(board)
    project = write_toy(tmp_path / "toy", board, KEEP.replace("== 0", "!= 0"))
    assert measure(project, board, bytes(48), model="toy", timeout=60).status == 7


def test_code_that_does_not_compile(tmp_path: Path) -> None:
    board = load_board("host")
    need(board)
    project = write_toy(tmp_path / "toy", board, "    int unused;\n" + KEEP)
    with pytest.raises(ToolFailed) as caught:
        build(project, board, tmp_path / "build", model="toy")
    assert str(caught.value).startswith("toy.c: cc fails: ")
    assert "unused" in str(caught.value)


def test_a_fault_is_reported(tmp_path: Path) -> None:
    for name, body in (
        ("mps2-an386", '    __asm__ volatile("udf #0");\n' + KEEP),
        ("riscv32-virt", '    __asm__ volatile("unimp");\n' + KEEP),
    ):
        board = load_board(name)
        need(board)
        project = write_toy(tmp_path / name, board, body)
        with pytest.raises(ToolFailed, match=f"^{name}: the core took a fault$"):
            measure(project, board, bytes(16), model="toy", timeout=60)


def test_a_stack_that_overflows(tmp_path: Path) -> None:
    board = load_board("microbit")
    need(board)
    project = write_toy(tmp_path / "toy", board, ADD.format(stack=4000), arena=13000)
    with pytest.raises(ToolFailed, match="the model's stack overflows"):
        measure(project, board, bytes(16), model="toy", timeout=60)


def test_what_does_not_fit(tmp_path: Path) -> None:
    board = load_board("microbit")
    need(board)
    project = write_toy(tmp_path / "ram", board, ADD.format(stack=64), arena=20000)
    with pytest.raises(OutOfMemory) as caught:
        measure(project, board, bytes(16), model="toy", timeout=60)
    assert caught.value.available == 16384
    assert 20000 < caught.value.needed < 20000 + 2500
    assert str(caught.value).startswith("ram region ram of microbit: needs ")
    project = write_toy(tmp_path / "flash", board, ADD.format(stack=64), weights=300_000)
    with pytest.raises(OutOfMemory) as caught:
        measure(project, board, bytes(16), model="toy", timeout=60)
    assert caught.value.available == 256 * 1024
    assert caught.value.needed > 300_000


def test_a_project_for_another_board(tmp_path: Path) -> None:
    board = load_board("host")
    need(board)
    project = write_toy(tmp_path / "toy", load_board("mps2-an386"), KEEP)
    with pytest.raises(ToolFailed, match=r"measure_host.c is missing \(is it built for host\?\)"):
        measure(project, board, b"", model="toy")
    with pytest.raises(BoardError, match="mps2-an386 has no sanitizers"):
        measure(project, load_board("mps2-an386"), b"", model="toy", sanitize=True)


def test_a_report_cut_short(tmp_path: Path) -> None:
    for text, code in (("status 0\ncontext 4\narena 4\n", 0), ("end\n", 0), ("", -11)):
        with pytest.raises(ToolFailed, match=r"^host: the program ended early with code "):
            parse_report(Ended(code, text), tmp_path / "output.bin", "host")


def test_broken_elf_files(tmp_path: Path) -> None:
    board = load_board("host")
    need(board)
    project = write_toy(tmp_path / "toy", board, KEEP)
    whole = build(project, board, tmp_path / "build", model="toy").read_bytes()
    broken = tmp_path / "broken"
    for image in (b"", b"hello", whole[:10], whole[:60], whole[:-100]):
        broken.write_bytes(image)
        with pytest.raises(ToolFailed, match=r"^broken: is "):
            sections(broken)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = load_board("host")
    project = write_toy(tmp_path / "toy", board, KEEP)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "input.bin")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ToolFailed, match=r"^input.bin: the temporary folder can't be used: No spa"):
        measure(project, board, b"", model="toy")


def test_a_read_only_project_builds(tmp_path: Path) -> None:
    board = load_board("host")
    need(board)
    project = write_toy(tmp_path / "toy", board, ADD.format(stack=64))
    for folder in (project, project / "target", project / "kernels"):
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        result = measure(project, board, FRAMES, model="toy", timeout=60)
    finally:
        for folder in (project, project / "target", project / "kernels"):
            folder.chmod(stat.S_IRWXU)
    assert result.outputs == expected(FRAMES)


# Simulated boards ------------------------------------------------------------------------


def run_on(name: str, folder: Path, body: str, **rest: object) -> Measurement:
    board = load_board(name)
    need(board)
    project = write_toy(folder / "toy", board, body, **rest)  # type: ignore[arg-type]
    return measure(project, board, FRAMES, model="toy", profile=True, timeout=120)


@pytest.mark.parametrize("name", SIMULATED)
def test_memory_figures(tmp_path: Path, name: str) -> None:
    result = run_on(
        name,
        tmp_path,
        "    counts[0] += 1;\n    rows[3] = 1;\n" + ADD.format(stack=600),
        declarations="static volatile int32_t counts[7] = {1, 2, 3, 4, 5, 6, 7};\n"
        "static volatile int8_t rows[40];\n",
    )
    assert result.outputs == expected(FRAMES)
    assert result.status == 0
    assert result.arena == 32
    assert result.weights == WEIGHTS
    assert result.static == 4 + 7 * 4 + 40
    assert result.stack is not None
    assert 600 <= result.stack <= 600 + 64
    # A second, bigger array is all that changes.
    bigger = run_on(
        name,
        tmp_path / "bigger",
        "    counts[0] += 1;\n    rows[3] = 1;\n" + ADD.format(stack=760),
        declarations="static volatile int32_t counts[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};\n"
        "static volatile int8_t rows[40];\n",
    )
    assert bigger.stack == result.stack + 160
    assert bigger.static == result.static + 8


@pytest.mark.parametrize("name", SIMULATED)
def test_the_harness_adds_no_code(tmp_path: Path, name: str) -> None:
    board = load_board(name)
    need(board)
    project = write_toy(tmp_path / "toy", board, KEEP)
    for profile in (False, True):
        program = build(project, board, tmp_path / f"{profile}", model="toy", profile=profile)
        objects = program.parent / "model"
        assert program_sizes(program) == object_sizes(objects / "toy.o", objects / "toy_weights.o")


@pytest.mark.parametrize(
    ("name", "arena", "weights", "regions"),
    [
        ("mps2-an386", 5 << 20, 64, ("psram", "ssram1")),
        ("mps2-an500", 5 << 20, 64, ("psram", "ssram1")),
        ("mps2-an505", 0x1FF000, 64, ("ssram3", "ssram1")),
        ("mps2-an505", 3 << 20, 64, ("psram", "ssram1")),
        ("mps3-an547", 0x7F000, 700_000, ("sram", "qspi")),
        ("mps3-an547", 3 << 20, 64, ("isram", "itcm")),
        ("mps3-an547", 5 << 20, 64, ("ddr", "itcm")),
    ],
)
def test_every_region_works(
    tmp_path: Path, name: str, arena: int, weights: int, regions: tuple[str, str]
) -> None:
    board = load_board(name)
    assert region_of(board, ".tm_arena", arena=arena) == regions[0]
    assert region_of(board, ".tm_weights", weights=weights) == regions[1]
    body = f"    context->arena[{arena - 1}] = 3;\n" + ADD.format(stack=64)
    result = run_on(name, tmp_path, body, arena=arena, weights=weights)
    assert result.outputs == expected(FRAMES)
    assert (result.arena, result.weights) == (arena, weights)


LENGTHS = (*range(101), 997, 1009, 12345)


@pytest.mark.parametrize("name", SIMULATED)
def test_instructions_are_exact(tmp_path: Path, name: str) -> None:
    """Layers of known length, so each stamp falls on another phase of the timer's tick."""
    body = "    LAYER(0);\n" + "".join(
        f"{nops(length)}    LAYER({layer});\n" for layer, length in enumerate(LENGTHS, 1)
    )
    layers = len(LENGTHS) + 1
    result = run_on(name, tmp_path, body + KEEP, layers=layers)
    assert result.layer_instructions is not None
    assert result.layer_instructions[1:] == LENGTHS
    empty = run_on(name, tmp_path / "empty", KEEP, layers=layers)
    assert result.instructions is not None and empty.instructions is not None
    assert result.instructions - empty.instructions == sum(LENGTHS)


@pytest.mark.parametrize("name", SIMULATED)
def test_a_run_is_counted_from_its_first_instruction_to_its_return(
    tmp_path: Path, name: str
) -> None:
    """The bare function is a constant and a return."""
    result = run_on(name, tmp_path, "    (void)context;\n    return TM_OK;\n", layers=0)
    assert result.instructions == 2
    assert result.layer_instructions == ()
    assert result.stack == 0


@pytest.mark.parametrize(
    ("name", "rounds"),
    [("mps2-an386", 350_000_001), ("microbit", 900_000_007), ("mps3-an547", 67_108_865)],
)
def test_long_loops_are_exact(tmp_path: Path, name: str, rounds: int) -> None:
    """The microbit's counter wraps every 1,048,576,000 instructions."""
    board = load_board(name)
    once = run_on(name, tmp_path / "once", loop(board, 1) + KEEP)
    project = write_toy(tmp_path / "toy", board, loop(board, rounds) + KEEP)
    often = measure(project, board, bytes(16), model="toy", timeout=120)
    assert once.instructions is not None and often.instructions is not None
    # Loading the count takes one instruction or, of some counts, two.
    assert often.instructions - once.instructions - 2 * (rounds - 1) in (0, 1)


@pytest.mark.parametrize("name", SIMULATED)
def test_libraries_count_as_the_models(tmp_path: Path, name: str) -> None:
    """What a model calls of the C library is its code, and errno works."""
    body = """
    for (int i = 0; i < 16; ++i) {
        const float wide = expf((float)context->arena[i] * 100.0f);
        context->arena[16 + i] = wide > 1.0f ? 1 : 0;
    }
    LAYER(0);
    return toy_weights[0] == 0 ? TM_OK : TM_ERROR_TOY;
"""
    result = run_on(name, tmp_path, body, declarations="#include <math.h>")
    assert result.outputs == bytes([1] * 28 + [0] * 20)
    assert result.code > 400
