"""Emitted models as parts of other programs: several in one, from C++, and re-entrant.

Also what a compilation may take: time and memory.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import tinymill
from conftest import need_tool
from tinymill.api import Compiled
from tinymill.samples import End, pattern

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
C_FLAGS = ["-std=c11", "-O1", "-ffp-contract=off", *WARNINGS]
CXX_FLAGS = ["-std=c++17", "-O1", *WARNINGS]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]

FIRST = "mlperf_tiny/kws_ref_model.tflite"
SECOND = "imagenet/mbv2-w0.35_int8_qdq.onnx"
STATEFUL = "wakeword/okay_nabu.tflite"


def emit(shared: Path, folder: Path, model: str, name: str) -> Compiled:
    return tinymill.compile(shared / "models" / model, output=folder / name, name=name)


def inputs_of(compiled: Compiled) -> bytes:
    ends = [End.of(entry) for entry in compiled.description["inputs"]]
    return b"".join(end.to_bytes(pattern(end)) for end in ends)


def outputs_of(shared: Path, model: str) -> bytes:
    """What the model alone gives for the pattern, in the order of its C."""
    compiled = tinymill.compile(shared / "models" / model)
    ends = [End.of(entry) for entry in compiled.description["outputs"]]
    outputs = tinymill.run(shared / "models" / model, layers=False).outputs
    return b"".join(end.to_bytes(array) for end, array in zip(ends, outputs, strict=True))


def build_and_run(
    folder: Path,
    names: tuple[str, ...],
    main: str,
    feed: bytes,
    *,
    cc: str = "gcc",
    cxx: str | None = None,
    flags: tuple[str, ...] | list[str] = (),
) -> bytes:
    """Builds the models with ``cc`` and ``main`` with ``cxx`` or ``cc``, links, runs."""
    sources = [f"{name}/{name}{part}.c" for name in names for part in ("", "_weights")]
    objects = []
    for source in sources:
        objects.append(source.replace("/", "-").replace(".c", ".o"))
        call([cc, *C_FLAGS, *flags, "-c", source, "-o", objects[-1]], folder)
    main_file = "main.cpp" if cxx else "main.c"
    (folder / main_file).write_text(main)
    own = [cxx, *CXX_FLAGS] if cxx else [cc, *C_FLAGS]
    call([*own, *flags, main_file, *objects, "-o", "program", "-lm"], folder)
    done = subprocess.run(["./program"], cwd=folder, input=feed, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[:2000]
    return done.stdout


def call(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:4000]}"


def program(names: tuple[str, ...], body: str) -> str:
    """A main that defines feed_ and tell_ for each model; valid as C and as C++."""
    lines = ["#include <stdio.h>", "#include <stdint.h>"]
    lines += [f'#include "{name}/{name}.h"' for name in names]
    for name in names:
        macro = name.upper()
        lines.append(
            dedent(f"""
                static int feed_{name}({name}_context *context) {{
                  for (int i = 0; i < {macro}_INPUT_COUNT; ++i) {{
                    size_t n = {name}_input_bytes(i);
                    if (fread({name}_input(context, i), 1, n, stdin) != n) return 0;
                  }}
                  return 1;
                }}

                static int tell_{name}(const {name}_context *context) {{
                  for (int i = 0; i < {macro}_OUTPUT_COUNT; ++i) {{
                    size_t n = {name}_output_bytes(i);
                    if (fwrite({name}_output(context, i), 1, n, stdout) != n) return 0;
                  }}
                  return 1;
                }}
            """)
        )
    return "\n".join([*lines, "int main(void) {", dedent(body), "  return 0;", "}", ""])


# both are fed before the first runs, and both have run before the first is read
SIDE_BY_SIDE = """
  static int64_t first_arena[(FIRST_ARENA_BYTES + 7) / 8];
  static int64_t second_arena[(SECOND_ARENA_BYTES + 7) / 8];
  first_context first;
  second_context second;
  if (first_init(&first, first_arena, sizeof first_arena) != TM_OK) return 1;
  if (second_init(&second, second_arena, sizeof second_arena) != TM_OK) return 2;
  if (!feed_first(&first) || !feed_second(&second)) return 3;
  if (first_run(&first) != TM_OK) return 4;
  if (second_run(&second) != TM_OK) return 5;
  if (!tell_first(&first) || !tell_second(&second)) return 6;
"""

# one arena, each output read before the other model runs; then the first once more
ONE_ARENA = """
  static int64_t arena[((FIRST_ARENA_BYTES > SECOND_ARENA_BYTES ? FIRST_ARENA_BYTES
                                                                : SECOND_ARENA_BYTES) + 7) / 8];
  first_context first;
  second_context second;
  if (first_init(&first, arena, sizeof arena) != TM_OK) return 1;
  if (second_init(&second, arena, sizeof arena) != TM_OK) return 2;
  if (!feed_first(&first) || first_run(&first) != TM_OK || !tell_first(&first)) return 3;
  if (!feed_second(&second) || second_run(&second) != TM_OK || !tell_second(&second)) return 4;
  if (!feed_first(&first) || first_run(&first) != TM_OK || !tell_first(&first)) return 5;
"""


@pytest.fixture(scope="module")
def pair(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    """A folder with two emitted models, their inputs and their outputs."""
    folder = tmp_path_factory.mktemp("two")
    feed = b"".join(
        inputs_of(emit(shared, folder, model, name))
        for model, name in ((FIRST, "first"), (SECOND, "second"))
    )
    return folder, feed, outputs_of(shared, FIRST) + outputs_of(shared, SECOND)


NAMES = ("first", "second")


@pytest.mark.parametrize(
    ("cc", "cxx", "flags"),
    [
        ("gcc", None, []),
        ("clang", None, []),
        ("gcc", None, SANITIZE),
        ("gcc", "g++", []),
        ("clang", "clang++", []),
    ],
    ids=lambda value: "-".join(value[:1]) if isinstance(value, list) else value,
)
def test_two_models_link_into_one_program(
    pair: tuple[Path, bytes, bytes], cc: str, cxx: str | None, flags: list[str]
) -> None:
    need_tool(cc, *([cxx] if cxx else []))
    folder, feed, wanted = pair
    main = program(NAMES, SIDE_BY_SIDE)
    assert build_and_run(folder, NAMES, main, feed, cc=cc, cxx=cxx, flags=flags) == wanted


def test_two_models_take_turns_in_one_arena(shared: Path, pair: tuple[Path, bytes, bytes]) -> None:
    need_tool("gcc")
    folder, feed, wanted = pair
    first = outputs_of(shared, FIRST)
    again = feed[: len(inputs_of(tinymill.compile(shared / "models" / FIRST)))]
    main = program(NAMES, ONE_ARENA)
    found = build_and_run(folder, NAMES, main, feed + again, flags=SANITIZE)
    assert found == wanted + first


def test_one_model_under_two_names(shared: Path, tmp_path: Path) -> None:
    need_tool("gcc")
    feeds = [inputs_of(emit(shared, tmp_path, FIRST, name)) for name in NAMES]
    found = build_and_run(tmp_path, NAMES, program(NAMES, SIDE_BY_SIDE), b"".join(feeds))
    assert found == outputs_of(shared, FIRST) * 2


@pytest.mark.parametrize("model", [FIRST, STATEFUL])
def test_two_contexts_of_one_model_do_not_meet(shared: Path, tmp_path: Path, model: str) -> None:
    """Steps of two streams, one context each, in turn: as if each were alone."""
    need_tool("gcc")
    steps = 12
    source = shared / "models" / model
    compiled = emit(shared, tmp_path, model, "first")
    if model == STATEFUL:
        assert compiled.plan.state_bytes > 0
    (end,) = [End.of(entry) for entry in compiled.description["inputs"]]
    outputs = [End.of(entry) for entry in compiled.description["outputs"]]
    chance = np.random.default_rng(3)
    limits = np.iinfo(end.dtype)
    streams = chance.integers(limits.min, limits.max, (2, steps, *end.shape), endpoint=True)
    streams = streams.astype(end.dtype)
    alone = [tinymill.run(source, input=stream, layers=False).outputs for stream in streams]
    body = f"""
      static int64_t arenas[2][(FIRST_ARENA_BYTES + 7) / 8];
      first_context contexts[2];
      for (int i = 0; i < 2; ++i) {{
        if (first_init(&contexts[i], arenas[i], sizeof arenas[i]) != TM_OK) return 1;
      }}
      for (int step = 0; step < {steps}; ++step) {{
        for (int i = 0; i < 2; ++i) {{
          if (!feed_first(&contexts[i])) return 2;
        }}
        for (int i = 0; i < 2; ++i) {{
          if (first_run(&contexts[i]) != TM_OK) return 3;
        }}
        for (int i = 0; i < 2; ++i) {{
          if (!tell_first(&contexts[i])) return 4;
        }}
      }}
    """
    feed = b"".join(end.to_bytes(streams[i, step]) for step in range(steps) for i in range(2))
    found = build_and_run(tmp_path, ("first",), program(("first",), body), feed, flags=SANITIZE)
    wanted = b"".join(
        port.to_bytes(array[step])
        for step in range(steps)
        for arrays in alone
        for port, array in zip(outputs, arrays, strict=True)
    )
    assert found == wanted


def test_misuse_is_answered_with_a_status(shared: Path, tmp_path: Path) -> None:
    need_tool("gcc")
    emit(shared, tmp_path, FIRST, "first")
    body = """
      static int64_t arena[(FIRST_ARENA_BYTES + 7) / 8 + 1];
      first_context context;
      if (first_init(&context, arena, FIRST_ARENA_BYTES - 1) != TM_ARENA_TOO_SMALL) return 1;
      if (first_run(&context) != TM_NOT_READY) return 2;
      if (first_init(&context, (uint8_t *)arena + 1, FIRST_ARENA_BYTES) != TM_ARENA_MISALIGNED)
        return 3;
      if (first_run(&context) != TM_NOT_READY) return 4;
      if (first_init(&context, arena, FIRST_ARENA_BYTES) != TM_OK) return 5;
      if (first_input(&context, 1) != NULL || first_input(&context, -1) != NULL) return 6;
      if (first_output(&context, 1) != NULL || first_input_bytes(1) != 0) return 7;
      if (!feed_first(&context) || !tell_first(&context)) return 8;
    """
    feed = inputs_of(tinymill.compile(shared / "models" / FIRST))
    build_and_run(tmp_path, ("first",), program(("first",), body), feed, flags=SANITIZE)


def test_compiling_mobilenet_takes_seconds_and_little_memory(shared: Path, tmp_path: Path) -> None:
    """At most 10 s of processor time and 1 GB, start of Python and the writing included."""
    model = shared / "models" / "imagenet" / "mobilenet_v2_1.0_224_quant.tflite"
    # a small process starts it and tells: what is forked from this one counts this one's memory
    teller = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
    )
    command = [sys.executable, "-m", "tinymill", "compile", str(model), "--output", "out"]
    told = subprocess.run(
        [sys.executable, "-c", teller, *command],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    seconds, kilobytes = map(float, told.stdout.splitlines()[-1].split())
    print(f"{seconds:.1f} s of processor, {kilobytes / 1024:.0f} MiB")
    assert (tmp_path / "out" / "plan.json").is_file()
    # wall time is the promise; other tests share this machine's processors
    assert seconds <= 10
    assert kilobytes * 1024 <= 1_000_000_000
