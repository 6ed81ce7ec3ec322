"""Wrong invocations of every command: one line that says what is wrong, exit code 2, no traceback,
and what lay there before is still whole."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from test_bad_input import conv, onnx_bytes

from tinymill import api
from tinymill.cli import app, main
from tinymill.errors import TinymillError

TINY_BOARD = """\
name = "tiny"
title = "4 KiB of RAM"
core = "cortex-m0"
features = ["thumb1"]
clock_hz = 1_000_000
[compiler]
family = "arm-none-eabi"
optimise = "-O2"
flags = ["-mcpu=cortex-m0", "-mthumb"]
link_flags = []
[[region]]
name = "flash"
kind = "flash"
address = 0
size = 4096
[[region]]
name = "ram"
kind = "ram"
address = 0x2000_0000
size = 4096
[firmware]
uart = "nrf"
base = 0x4000_2000
clock_hz = 16_000_000
baud = 115_200
setup = []
"""


def large(path: Path) -> None:
    """A model whose arena and weights fit no microcontroller of 4 KiB."""
    weights = np.ones((64, 2, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    tensor = onnx.numpy_helper.from_array(weights, "w")
    path.write_bytes(onnx_bytes([node], [tensor], shape=(1, 2, 40, 40)))


def prepare(folder: Path) -> None:
    """The files that the table names."""
    (folder / "good.onnx").write_bytes(conv())
    large(folder / "large.onnx")
    (folder / "cut.onnx").write_bytes(conv()[:-40])
    (folder / "cut.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(40))
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "odd.onnx").write_bytes(
        onnx_bytes([helper.make_node("Frobnicate", ["x"], ["y"], name="odd")])
    )
    (folder / "open.onnx").write_bytes(onnx_bytes(shape=(1, "n")))
    (folder / "notes.txt").write_text("no model")
    (folder / "folder").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("years of work")
    np.save(folder / "right.npy", np.zeros((1, 2, 8, 8), np.float32))
    np.save(folder / "shape.npy", np.zeros((1, 3, 8, 8), np.float32))
    np.save(folder / "type.npy", np.zeros((1, 2, 8, 8), np.int8))
    (folder / "cut.npy").write_bytes((folder / "right.npy").read_bytes()[:90])
    (folder / "labels.bin").write_bytes(bytes(range(256)))
    (folder / "tiny.toml").write_text(TINY_BOARD)
    (folder / "broken.toml").write_text("name = [[[")
    (folder / "half.toml").write_text('name = "half"\n')
    (folder / "array.json").write_text("[1, 2]")
    (folder / "text.json").write_text("no JSON")
    (folder / "other.json").write_text(json.dumps({"schedule": [{"layers": ["other"]}]}))
    api.compile(folder / "good.onnx", output=folder / "project")
    api.compile(folder / "good.onnx", target="mps2-an386", output=folder / "m4")
    api.export_model(folder / "good.onnx", format="make", output=folder / "export")


# A line is a command; {} of it stands for options that would do otherwise.
COMMANDS = {
    "inspect": "inspect {model}",
    "compile": "compile {model} -o new/out",
    "plan": "plan {model}",
    "run": "run {model} -i pattern",
    "validate": "validate {model} -i pattern",
    "quantize": "quantize {model} -c right.npy -o new.onnx",
    "flash": "flash {model} --board nucleo-f446re --dry-run",
    "export": "export {model} -o new/out --format cmake",
}
MODELS = ("absent.onnx", "folder", "notes.txt", "cut.onnx", "cut.tflite", "empty.onnx", "odd.onnx",
          "open.onnx", "good.onnx/below", "''")  # fmt: skip
LOWERING = ("--io both", "--io", "--requant none", "--optimize money", "--shape x", "--shape x=0",
            "--shape nothing=1,2", "--nothing", "--target nothing", "--target absent.toml",
            "--target broken.toml", "--target half.toml", "--target folder")  # fmt: skip
PLANNING = ("--plan fast", "--plan absent.json", "--plan array.json", "--plan text.json",
            "--plan other.json", "--plan folder", "--ram 0", "--ram -5", "--ram 64K",
            "--fast-ram -1", "--weights rom", "--ram 10", "--plan min-ram --ram 100000",
            "--target tiny.toml")  # fmt: skip
WRITING = ("-o full", "-o notes.txt", "-o notes.txt/out", "-o /proc/out", "-o good.onnx", "-o")


def table() -> Iterator[str]:
    """The wrong invocations, as words for a shell."""
    for form in COMMANDS.values():
        for model in MODELS:
            if model == "odd.onnx" and form.startswith("inspect"):
                continue  # inspect tells what is unsupported
            yield form.format(model=model)
    for name in ("compile", "plan", "run", "validate", "export"):
        for option in LOWERING:
            yield f"{COMMANDS[name].format(model='good.onnx')} {option}"
    for name in ("compile", "run", "export"):
        for option in PLANNING:
            model = "large.onnx" if option in ("--ram 10", "--target tiny.toml") else "good.onnx"
            yield f"{COMMANDS[name].format(model=model)} {option}"
    for option in WRITING:
        yield f"compile good.onnx {option}"
        yield f"export good.onnx --format make {option}"
    yield from (
        "inspect", "compile", "plan", "run", "export", "nothing", "--nothing", "inspekt good.onnx",
        "inspect good.onnx good.onnx", "boards host", "boards --target host", "compile good.onnx",
        "run good.onnx", "export good.onnx", "export good.onnx -o new", "plan good.onnx --io",
        "export good.onnx --format make", "export good.onnx -o new --format",
        "export good.onnx -o new --format msbuild", "export good.onnx -o new --format CMake",
        "export good.onnx -o new --format ''",
        "compile good.onnx -o new --dump-passes notes.txt",
        "plan good.onnx --pareto --plan min-ram",
        "plan good.onnx --picture picture", "plan good.onnx --picture picture.bmp",
        "plan good.onnx --picture folder/absent/picture.svg", "plan good.onnx --picture full",
        "run good.onnx -i absent.npy", "run good.onnx -i shape.npy", "run good.onnx -i cut.npy",
        "run good.onnx -i notes.txt", "run good.onnx -i folder", "run good.onnx -i labels.bin",
        "run good.onnx -i right.npy -i right.npy", "run good.onnx -i pattern --labels absent.txt",
        "run good.onnx -i pattern --labels labels.bin", "run good.onnx -i pattern --labels folder",
        "run good.onnx -i pattern --timeout 0", "run good.onnx -i pattern --timeout -3",
        "run good.onnx -i pattern --timeout soon", "run good.onnx -i pattern --cc absent-gcc",
        "run good.onnx -i pattern --cc ''' '", "run good.onnx -i pattern --mean x",
        "run good.onnx -i pattern --cycles", "run m4 -i pattern --target mps2-an386 --sanitize",
        "run good.onnx -i pattern --target tiny.toml", "run project -i pattern --target mps2-an386",
        "run project -i pattern --io float", "run project -i pattern --optimize size",
        "run project -i pattern --plan min-ram", "run project -i pattern --shape x=1",
        "run project -i pattern --ram 100000", "run project -i shape.npy", "run folder -i pattern",
        "run export -i pattern", "run full -i pattern", "export export -o new --format cmake",
        "export full -o new --format cmake", "export project -o new --format cmake --io float",
        "export project -o new --format cmake --name other", "export project -o full --format make",
        "export project -o new --format make --target mps2-an386",
        "export project -o project --format make", "export project -o folder/../project -f make",
        "export large.onnx -o new --format arduino --target tiny.toml",
        "compile large.onnx -o new --target tiny.toml --json",
        "compile good.onnx -o new --step 2 --stream-input", "compile good.onnx -o new --step 0",
        "compile good.onnx -o new --step 2 --frontend motion",
        "compile good.onnx -o new --frontend motion", "compile good.onnx -o new --frontend x",
        "compile good.onnx -o new --frontend absent.toml",
        "compile good.onnx -o new --frontend broken.toml",
        "run good.onnx -i pattern --frontend motion", "run project -i pattern --frontend motion",
        "run project -i pattern --step 2",
        "validate", "validate good.onnx", "validate good.onnx -i absent.npy",
        "validate good.onnx -i shape.npy",
        "validate good.onnx -i notes.txt", "validate good.onnx -i pattern --plan fast",
        "validate good.onnx -i pattern --tolerance x", "validate good.onnx -i pattern --timeout 0",
        "validate good.onnx -i pattern --cc absent-gcc", "validate project -i pattern",
        "quantize", "quantize good.onnx", "quantize good.onnx -c right.npy",
        "quantize good.onnx -c absent.npy -o new.onnx", "quantize good.onnx -c cut.npy -o new.onnx",
        "quantize good.onnx -c shape.npy -o new.onnx",
        "quantize good.onnx -c notes.txt -o new.onnx", "quantize good.onnx -c full -o new.onnx",
        "quantize good.onnx -c right.npy -o new.txt", "quantize good.onnx -c right.npy -o folder",
        "quantize good.onnx -c right.npy -o absent/new.onnx",
        "quantize good.onnx -c right.npy -o new.onnx --method best",
        "quantize good.onnx -c right.npy -o new.onnx --percentile 101 --method percentile",
        "quantize good.onnx -c right.npy -o new.onnx --samples 0",
        "quantize good.onnx -c right.npy -o new.onnx --mean x",
        "quantize good.onnx -c right.npy -o new.onnx --std 0",
        "quantize good.onnx -c right.npy -o new.onnx --layout hwc",
        "quantize good.onnx -c right.npy -o new.onnx --labels absent.txt",
        "quantize good.onnx -c right.npy -o new.onnx --evaluate right.npy",
        "quantize good.onnx -c right.npy -o new.onnx --classes absent.txt",
        "flash", "flash good.onnx", "flash good.onnx --board nothing",
        "flash good.onnx --board host",
        "flash good.onnx --board nucleo-f446re --tool hammer",
        "flash project", "flash export", "flash full",
        "flash m4 --board nucleo-f446re", "flash --list-probes --board host",
        "flash --list-probes --board nothing", "flash --list-probes --tool hammer",
        "export good.onnx -o new --format make --target rp2040-pico",
        "export good.onnx -o new --format cmake --target esp32c3-devkit",
    )  # fmt: skip


INVOCATIONS = tuple(dict.fromkeys(table()))


def words(line: str) -> list[str]:
    """A line's words; only whole words are quoted."""
    return [
        {"''": "", "'''": "'", "'": ""}.get(word, word) for word in line.split(" ") if word
    ]  # fmt: skip


def state(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("invocations")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def before(place: Path) -> dict[str, bytes]:
    return state(place)


def test_the_table_is_long_and_of_every_command() -> None:
    assert len(INVOCATIONS) >= 100
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    assert {words(line)[0] for line in INVOCATIONS} >= commands & {*COMMANDS, "boards"}


@pytest.mark.parametrize("line", INVOCATIONS)
def test_wrong_invocation(
    line: str,
    place: Path,
    before: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as end:
        main(words(line))
    told = capsys.readouterr()
    assert end.value.code == 2, told.out + told.err
    assert told.out == ""
    lines = told.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("tinymill: "), told.err
    assert lines[0].isprintable() and len(lines[0]) < 1600
    assert "Error(" not in lines[0] and "Traceback" not in lines[0]
    assert state(place) == before


@pytest.mark.parametrize("command", [*(name for name in COMMANDS if name != "flash"), "boards"])
def test_help_and_json_are_offered(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    told = capsys.readouterr()
    assert end.value.code == 0 and not told.err
    assert "--json" in told.out and "Usage:" in told.out


# -- the machine --------------------------------------------------------------------------------


def tinymill(*arguments: str | Path, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tinymill", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, **settings,
    )  # type: ignore[call-overload,no-any-return]  # fmt: skip


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("tinymill: "), done.stderr
    return lines[0]


MISSING = {
    "run good.onnx -i pattern": "cc is not installed",
    "run good.onnx -i pattern --target mps2-an386": "arm-none-eabi-gcc is not installed",
    "run good.onnx -i pattern --target riscv32-virt": "riscv64-unknown-elf-gcc is not installed",
    "run project -i pattern": "cc is not installed",
    "run m4 -i pattern": "arm-none-eabi-gcc is not installed",
    "validate good.onnx -i pattern": "cc is not installed",
}


@pytest.mark.parametrize("line", MISSING)
def test_a_missing_tool_is_named_with_its_package(
    line: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", "/nowhere")
    for variable in ("CC", "TINYMILL_CC"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SystemExit) as end:
        main(words(line))
    told = capsys.readouterr().err
    assert end.value.code == 2 and MISSING[line] in told and "apt-get install" in told


def test_a_missing_package_is_named(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as end:
        main(["plan", "good.onnx", "--picture", "plan.svg"])
    told = capsys.readouterr().err
    assert end.value.code == 2 and "pip install" in told and len(told.splitlines()) == 1


@pytest.fixture
def prison() -> Iterator[Path]:
    """A folder in which this process may read and not write, though it may be root's."""
    user = os.geteuid()
    # pytest's own folders are nobody else's to read
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        (folder / "secret.onnx").write_bytes(conv())
        (folder / "secret.onnx").chmod(0o000)
        # all modules are loaded while they can be read
        for line in ("compile good.onnx -o new", "export good.onnx -o new --format make",
                     "run good.onnx -i pattern --timeout 0"):  # fmt: skip
            with contextlib.suppress(SystemExit), contextlib.chdir(folder):
                main(words(line))
        shutil.rmtree(folder / "new")
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        yield folder
        os.seteuid(user)
        folder.chmod(0o755)


@pytest.mark.parametrize(
    "line",
    [
        "compile good.onnx -o new",
        "compile good.onnx -o project",
        "inspect secret.onnx",
        "run secret.onnx -i pattern",
        "export good.onnx -o a/b --format make",
        "export good.onnx -o export --format make",
        "export secret.onnx -o export --format make",
    ],
)
def test_no_permission(
    line: str,
    prison: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(prison)
    held = sorted(prison.rglob("*"))
    with pytest.raises(SystemExit) as end:
        main(words(line))
    told = capsys.readouterr()
    assert end.value.code == 2 and told.out == ""
    assert len(told.err.splitlines()) == 1 and "ermission denied" in told.err
    assert sorted(prison.rglob("*")) == held


def no_room() -> None:
    """Fails a write after 2 KiB, as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


def test_a_full_disk_leaves_the_old_output_whole(tmp_path: Path) -> None:
    (tmp_path / "good.onnx").write_bytes(conv())
    api.compile(tmp_path / "good.onnx", output=tmp_path / "project")
    api.export_model(tmp_path / "good.onnx", format="make", output=tmp_path / "export")
    held = state(tmp_path)
    for line in (
        "compile good.onnx -o project --target mps2-an386",
        "export good.onnx -o export --format cmake", "plan good.onnx --picture plan.svg",
    ):  # fmt: skip
        told = one_line(tinymill(*words(line), cwd=tmp_path, preexec_fn=no_room))
        assert "can't be written" in told or "too large" in told, told
        assert state(tmp_path) == held


def test_full_standard_output(tmp_path: Path) -> None:
    (tmp_path / "good.onnx").write_bytes(conv())
    for line in ("boards --json", "inspect good.onnx", "--help"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "tinymill", *words(line)], cwd=tmp_path,
                stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1 and "No space left" in done.stderr


# What is interrupted: the line, and the call within which Ctrl-C comes.
HALFWAY = {
    "compile good.onnx -o project --target mps2-an386": "os.fsync",
    "export good.onnx -o export --format cmake": "os.fsync",
    "plan good.onnx --picture plan.svg": "os.replace",
}


@pytest.mark.parametrize("line", HALFWAY)
def test_interrupted_halfway(tmp_path: Path, line: str) -> None:
    (tmp_path / "good.onnx").write_bytes(conv())
    api.compile(tmp_path / "good.onnx", output=tmp_path / "project")
    api.export_model(tmp_path / "good.onnx", format="make", output=tmp_path / "export")
    (tmp_path / "plan.svg").write_text("<svg/>")
    held = state(tmp_path)
    hook = (
        "import os, pathlib, sys, time\n"
        "def halt(*_):\n"
        "    print('halfway', flush=True)\n"
        "    time.sleep(60)\n"
        f"{HALFWAY[line]} = halt\n"
        "pathlib.Path.replace = halt\n"
        "from tinymill.cli import main\n"
        f"main({words(line)!r})\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hook], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "halfway\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(30) == 130
    assert said == "tinymill: interrupted\n"
    assert state(tmp_path) == held


def test_exports_of_hostile_projects(tmp_path: Path) -> None:
    """A plan.json that says anything: an error, or an export that takes it for true."""
    from test_bad_input import plan_cases  # noqa: PLC0415

    (tmp_path / "good.onnx").write_bytes(conv())
    api.compile(tmp_path / "good.onnx", output=tmp_path / "project")
    path = tmp_path / "project" / "plan.json"
    whole = json.loads(path.read_text())
    more = [((key,), value) for key in ("arena", "weights_bytes", "state_bytes", "source")
            for value in (None, "x", [], {}, float("inf"), "`*/\n$(x)`")]  # fmt: skip
    for keys, value in [*plan_cases(), *more]:
        plan = json.loads(json.dumps(whole))
        target = plan
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value
        path.write_text(json.dumps(plan))
        try:
            exported = api.export_model(tmp_path / "project", format="cmake")
        except TinymillError as error:
            assert "\n" not in str(error)
        else:
            assert "\n$(x)" not in exported.files["README.md"]
