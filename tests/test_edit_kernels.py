"""The kernels of sparse editing against numpy, for each set of vectors that they have.

`TINYMILL_CASES=1000` tries more cases, other ones in each run unless `TINYMILL_SEED` is set, and
more builds.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import edit_kernel_cases as cases
from conftest import ROOT, need_tool
from tinymill.deploy.recipe import WARNINGS

SOURCES = ROOT / "runtime_c" / "editing"
KERNELS = ("attention", "conv", "linear", "maps", "product", "room", "winograd")
LONG = "TINYMILL_CASES" in os.environ
PER_FAMILY = int(os.environ.get("TINYMILL_CASES", "30"))
"""Cases of each family for each build."""
SEED = int(os.environ.get("TINYMILL_SEED", time.time_ns() % 100_000 if LONG else 0))

BUILDS: dict[str, tuple[str, ...]] = {
    "gcc-native": ("gcc", "-O2", "-march=native", "-fopenmp"),
    "clang-portable": ("clang", "-O1"),
}
if LONG:
    if platform.machine() == "x86_64":
        BUILDS["gcc-avx2"] = ("gcc", "-O1", "-mavx2", "-mfma", "-fopenmp")
    BUILDS["gcc-portable"] = ("gcc", "-O3", "-fopenmp")
    BUILDS["clang-native"] = ("clang", "-O3", "-march=native")
    BUILDS["gcc-one-lane"] = ("gcc", "-O1", "-DTM_EDIT_ONE_LANE")


def build(library: Path, *compiler: str) -> Path:
    """A shared library of the kernels."""
    need_tool(compiler[0])
    sources = [str(SOURCES / f"tm_edit_{name}.c") for name in KERNELS]
    subprocess.run(
        [*compiler, "-std=c11", *WARNINGS, "-fPIC", "-shared", *sources, "-o", str(library)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return library


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The kernels as one of BUILDS makes them."""
    folder = tmp_path_factory.mktemp("kernels")

    @cache
    def library(name: str) -> Path:
        if name == "gcc-avx2" and not {"avx2", "fma"} <= cpu_flags():
            pytest.skip("this processor has no AVX2")
        return build(folder / f"{name}.so", *BUILDS[name])

    return library


@cache
def cpu_flags() -> frozenset[str]:
    """Features of this processor, as Linux names them."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


@pytest.mark.parametrize("name", BUILDS)
def test_kernels(libraries: Callable[[str], Path], name: str) -> None:
    """Random calls of every kernel; what no tile covers stays as it was."""
    assert list(cases.failures(libraries(name), SEED, PER_FAMILY)) == []


def test_sanitized(tmp_path: Path) -> None:
    """The portable build neither reads nor writes outside of its buffers."""
    need_tool("gcc")
    library = build(
        tmp_path / "kernels.so", "gcc", "-O0", "-g", "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    )  # fmt: skip
    runtime = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    done = subprocess.run(
        [sys.executable, cases.__file__, str(library), str(SEED + 1000), str(PER_FAMILY // 2)],
        env={"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_winograd_is_accurate_for_many_channels(libraries: Callable[[str], Path]) -> None:
    """1152 input channels, as in the middle of a U-Net: within 1e-5 of float64."""
    kernels = cases.load(libraries("gcc-native"))
    d = cases.Draw(5)
    x, weights = d.array(1, 16, 16, 1152), d.array(32, 3, 3, 1152)
    c = cases.Conv(
        16, 16, 1152, 1152, 16, 16, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0.0,
        None, None, None, None, 0, 0, 0, 0,
    )  # fmt: skip
    packed = np.empty(kernels.tm_edit_conv_packed(ctypes.byref(c)), np.float32)
    kernels.tm_edit_pack_conv(ctypes.byref(c), cases.floats(weights), cases.floats(packed))
    c.weights = cases.floats(packed)
    got = np.empty((16, 16, 32), np.float32)
    kernels.tm_edit_conv_dense(ctypes.byref(c), cases.floats(x), None, cases.floats(got), 1)
    padded = np.pad(x[0].astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    exact = sum(
        padded[i : i + 16, j : j + 16] @ weights[:, i, j].T.astype(np.float64)
        for i in range(3)
        for j in range(3)
    )
    assert np.abs(got - exact).max() < 1e-5 * np.abs(exact).max()
