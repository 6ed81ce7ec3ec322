"""tinymill flash: exact calls without hardware, tools that only pretend, and QEMU for real."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_firmware import need, sample

import tinymill
from conftest import need_tool
from simulated_board import simulated
from test_emission import EXAMPLE
from tinymill.api import compile as compile_model
from tinymill.boards import FLASH_TOOLS, list_boards, load_board
from tinymill.deploy import flashing, list_probes, plan_flash
from tinymill.deploy.flashing import TOOLS
from tinymill.deploy.serial_link import SerialLink
from tinymill.errors import BoardError, InvalidInput, ToolFailed, ToolMissing

GDB = (
    "gdb-multiarch --nx --batch -ex 'set remotetimeout 10' -ex 'set tcp connect-timeout 5' "
    "-ex 'target extended-remote {}' "
)
NAMES = tuple(name for name in list_boards() if name != "host")

# Board, tool, probe: the calls.
CALLS = [
    ("nucleo-f401re", None, None,
     "openocd -f board/st_nucleo_f4.cfg -c 'program firmware.elf verify reset exit'"),
    ("nucleo-u575zi", None, "00420026",
     "openocd -f interface/stlink.cfg -f target/stm32u5x.cfg -c 'adapter serial 00420026' "
     "-c 'program firmware.elf verify reset exit'"),
    ("nucleo-f401re", "openocd", "A1 [exit]; x\\",
     "openocd -f board/st_nucleo_f4.cfg -c 'adapter serial A1\\ \\[exit\\]\\;\\ x\\\\' "
     "-c 'program firmware.elf verify reset exit'"),
    ("nucleo-f446re", "st-flash", None, "st-flash --reset write firmware.bin 0x8000000"),
    ("nucleo-l4r5zi", "st-flash", "066",
     "st-flash --serial 066 --reset write firmware.bin 0x8000000"),
    ("nucleo-h743zi", "pyocd", "0671FF",
     "pyocd load --no-wait --target stm32h743xx --uid 0671FF --no-reset firmware.elf\n"
     "pyocd commander --no-wait --target stm32h743xx --uid 0671FF "
     "--command 'compare 0x8000000 firmware.bin' --command reset"),
    ("microbit-v2", None, None,
     "pyocd load --no-wait --target nrf52833 --no-reset firmware.elf\n"
     "pyocd commander --no-wait --target nrf52833 "
     "--command 'compare 0x0 firmware.bin' --command reset"),
    ("esp32c3-devkit", None, "/dev/ttyUSB0",
     "esptool --chip esp32c3 --port /dev/ttyUSB0 write-flash 0x0 firmware.bin"),
    ("rp2040-pico", None, None, "picotool load --verify --execute firmware.elf"),
    ("rp2350-pico2", None, "E66",
     "picotool load --verify --execute firmware.elf --ser E66"),
    ("teensy41", None, None, "teensy_loader_cli --mcu=TEENSY41 -w -v firmware.hex"),
    ("arduino-nano-33-ble", None, "ttyACM0",
     "bossac --port=ttyACM0 -U -i -e -w firmware.bin -R"),
    ("portenta-h7", None, None,
     "dfu-util --device 2341:035b --alt 0 --dfuse-address 0x8040000:leave "
     "--download firmware.bin"),
    ("openmv-h7", None, "20",
     "dfu-util --device 0483:df11 --serial 20 --alt 0 --dfuse-address 0x8040000:leave "
     "--download firmware.bin"),
    ("stm32f746g-disco", "gdb", None,
     GDB.format("localhost:3333") + "-ex 'monitor reset halt' -ex load -ex compare-sections "
     "-ex 'monitor reset run' -ex detach firmware.elf"),
    ("mps2-an386", None, "/tmp/stub",
     GDB.format("/tmp/stub") + "-ex load -ex compare-sections -ex 'monitor system_reset' "
     "-ex detach firmware.elf"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "tool", "probe", "calls"), CALLS)
def test_the_exact_calls(name: str, tool: str | None, probe: str | None, calls: str) -> None:
    plan = plan_flash(load_board(name), tool, probe)
    assert "\n".join(shlex.join(command.argv) for command in plan.commands) == calls


def test_every_tool_of_every_board_has_a_plan() -> None:
    for name in NAMES:
        board = load_board(name)
        for tool in board.flash_tools:
            plan = plan_flash(board, tool.name)
            assert plan.tool == tool.name
            assert all(command.argv[0] in TOOLS[tool.name].programs for command in plan.commands)
            last = TOOLS[tool.name].verifies
            assert plan.verifies == last
    assert set(TOOLS) == set(FLASH_TOOLS) == {call[1] or first(call[0]) for call in CALLS}


def first(name: str) -> str:
    return load_board(name).flash_tools[0].name


@pytest.mark.parametrize(
    ("name", "tool", "probe", "message"),
    [
        ("host", None, None, "host has no flash to write"),
        ("teensy41", "openocd", None, "teensy41 is not written with openocd (with teensy_loader"),
        ("teensy41", "hammer", None, "there is no flash tool 'hammer' (known: bossac, dfu-util"),
        ("teensy41", None, "1", "teensy_loader_cli takes no --probe"),
        ("nucleo-f401re", None, " ", "a probe's name is blank or has control characters"),
        ("nucleo-f401re", None, "a\nb", "a probe's name is blank or has control characters"),
    ],
)
def test_what_can_not_be_flashed(
    name: str, tool: str | None, probe: str | None, message: str
) -> None:
    with pytest.raises(BoardError) as caught:
        plan_flash(load_board(name), tool, probe)
    assert str(caught.value).startswith(message)


# As a user types it -----------------------------------------------------------------------


def command(
    *arguments: object, path: Path | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """``tinymill flash``, with only ``path`` for programs where given."""
    environment = dict(os.environ) if path is None else {**os.environ, "PATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-m", "tinymill", "flash", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_dry_run_needs_nothing_installed(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = command(EXAMPLE, "--board", "nucleo-f401re", "--dry-run", path=empty)
    assert done.stdout == CALLS[0][3] + "\n"
    compile_model(EXAMPLE, target="teensy41", output=tmp_path / "c")
    done = command(tmp_path / "c", "--dry-run", path=empty)
    assert done.stdout == "teensy_loader_cli --mcu=TEENSY41 -w -v firmware.hex\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "empty"]


def test_one_line_where_it_can_not_be(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = command(EXAMPLE, "--target", "teensy41", path=empty, code=2)
    assert done.stderr == (
        "teensy41: press the button on the board\n"
        "tinymill: teensy_loader_cli is not installed "
        "(install it with: apt-get install teensy-loader-cli)\n"
    )
    done = command(EXAMPLE, code=2)
    assert done.stderr.endswith("is to be written to which board? (--board)\n")
    assert command(code=2).stderr == "tinymill: flash what? (give a model or a folder)\n"
    done = command(tmp_path / "none.onnx", "--board", "teensy41", "--dry-run", code=2)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_a_missing_tool_is_named_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ToolMissing) as caught:
        flashing.find_program(TOOLS[name])
    text = str(caught.value)
    assert text.startswith(f"{TOOLS[name].programs[0]} is not installed (install it with: ")


def test_both_names_of_the_board_on_all_commands() -> None:
    for name in ("compile", "plan", "run", "flash"):
        done = subprocess.run(
            [sys.executable, "-m", "tinymill", name, "--help"],
            capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        assert "--target" in done.stdout and "--board" in done.stdout, name


# Tools that pretend -----------------------------------------------------------------------


def pretend(folder: Path, name: str, said: str, code: int = 0) -> Path:
    """A program that notes its arguments and what lies in its folder, and says ``said``."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    log = folder / f"{name}.log"
    program.write_text(
        f'#!/bin/sh\nfor a in "$@"; do echo "$a" >>{shlex.quote(str(log))}; done\n'
        f"ls >>{shlex.quote(str(log))}\nprintf '%s\\n' {shlex.quote(said)}\nexit {code}\n"
    )
    program.chmod(0o755)
    return log


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    board = load_board("nucleo-f401re")
    need(board)
    need_tool("arm-none-eabi-objcopy")
    compile_model(EXAMPLE, target=board, output=tmp_path / "c")
    return tmp_path / "c"


def test_tools_are_called_on_the_images_and_must_prove_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiled: Path
) -> None:
    tools = tmp_path / "tools"
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    log = pretend(tools, "openocd", "** Verified OK **")
    plan = tinymill.flash(compiled)
    lines = log.read_text().splitlines()
    assert tuple(lines[: len(plan.commands[0].argv) - 1]) == plan.commands[0].argv[1:]
    assert {"firmware.elf", "firmware.bin", "firmware.hex"} <= set(lines)

    pretend(tools, "openocd", "all is well")
    with pytest.raises(ToolFailed, match="openocd on nucleo-f401re: all is well"):
        tinymill.flash(compiled)
    pretend(tools, "openocd", "hm\nError: open failed\nbye", code=1)
    with pytest.raises(ToolFailed, match="openocd on nucleo-f401re: Error: open failed"):
        tinymill.flash(compiled)
    pretend(tools, "pyocd", "Mismatched byte at 0x08000000")
    with pytest.raises(ToolFailed, match="what was written does not read back"):
        tinymill.flash(compiled, tool="pyocd")
    pretend(tools, "gdb-multiarch", "Start address 0x1, load size 9\nSection .text, MIS-MATCHED!")
    with pytest.raises(ToolFailed, match="what was written does not read back"):
        tinymill.flash(compiled, tool="gdb")
    with pytest.raises(BoardError, match="compiled for nucleo-f401re, not for teensy41"):
        tinymill.flash(compiled, target="teensy41")
    with pytest.raises(InvalidInput, match="was compiled with optimize 'time', not 'size'"):
        tinymill.flash(compiled, optimize="size")


def test_probes_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ToolMissing, match=r"pip install 'tinymill\[flash\]'"):
        list_probes()
    shutil.copy("/bin/ls", tools / "ls")
    pretend(tools, "pyocd", "0  a probe  0671FF")
    log = pretend(tools, "dfu-util", "Found DFU: [0483:df11]")
    found = dict(list_probes())
    assert set(found) == {"dfu-util", "pyocd"}
    assert "0671FF" in found["pyocd"]
    assert log.read_text().splitlines()[0] == "--list"
    assert dict(list_probes(load_board("microbit"))).keys() == {"pyocd"}
    with pytest.raises(ToolMissing, match="picotool is not installed"):
        list_probes(load_board("rp2040-pico"))
    with pytest.raises(BoardError, match=r"openocd can't list probes \(--tool dfu-util, esptool"):
        list_probes(load_board("nucleo-f401re"))
    with pytest.raises(BoardError, match="there is no flash tool 'x'"):
        list_probes(tool="x")


def test_the_command_lists_probes(tmp_path: Path) -> None:
    log = pretend(tmp_path / "tools", "dfu-util", "Found DFU: [0483:df11]\nand another")
    done = command(
        "--list-probes",
        "--tool",
        "dfu-util",
        path=Path(f"{tmp_path / 'tools'}:{os.environ['PATH']}"),
    )
    assert done.stdout == "dfu-util: Found DFU: [0483:df11]\ndfu-util: and another\n"
    assert log.is_file()


# For real ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["netduinoplus2", "microbit", "mps3-an547", "riscv32-virt"])
def test_gdb_writes_a_halted_machine_that_then_runs(tmp_path: Path, name: str) -> None:
    """QEMU's memory is empty at first: all that runs came through gdb's load."""
    board = load_board(name)
    need(board)
    need_tool("gdb-multiarch")
    frame, outputs = sample()
    plan = "min-ram" if name == "microbit" else "min-time"
    compile_model(EXAMPLE, target=board, output=tmp_path / "c", plan=plan)
    with simulated(board) as (stream, stub):
        done = command(tmp_path / "c", "--tool", "gdb", "--probe", stub)
        assert done.stdout.splitlines()[-1] == f"written to {name}, read back"
        assert SerialLink(stream).run(frame).outputs == outputs


def test_gdb_without_a_server_is_one_line(tmp_path: Path, compiled: Path) -> None:
    need_tool("gdb-multiarch")
    done = command(compiled, "--tool", "gdb", "--probe", tmp_path / "none", code=2)
    assert done.stderr.startswith("tinymill: gdb on nucleo-f401re: ")
    assert done.stderr.count("\n") == 1
