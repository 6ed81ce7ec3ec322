"""The wheel carries all it needs and works from any folder, away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel's content, as an installation would have it."""
    folder = tmp_path_factory.mktemp("wheel")
    # a copy: building leaves files behind
    source = folder / "source"
    parts = ("compiler", "runtime_c", "templates", "boards")
    for name in (*parts, "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=shutil.ignore_patterns("*.egg-info"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(origin, source / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def call(installed: Path, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-m", "tinymill", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_runs_from_an_empty_folder(installed, tmp_path):
    where = subprocess.run(
        [sys.executable, "-c", "import tinymill; print(tinymill.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert where.startswith(str(installed))
    assert "8013831d" in call(
        installed, tmp_path, "run", str(MODEL), "--input", "pattern", "--json"
    )
    assert "mps2-an386" in call(installed, tmp_path, "boards")


def test_wheel_and_sdist_pass_the_check_of_the_index(tmp_path):
    """Both are built as for an upload; the sdist has what the Makefile needs."""
    for package in ("build", "twine"):
        pytest.importorskip(package)
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(
        ".git*", ".venv", "build", "dist", "__pycache__", "*.egg-info", ".*_cache"
    )
    shutil.copytree(ROOT, source, ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", tmp_path / "dist", source],
        check=True,
        capture_output=True,
    )
    made = sorted((tmp_path / "dist").iterdir())
    assert [path.suffix for path in made] == [".whl", ".gz"]
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *made],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(made[1]) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for path in ("LICENSE", "CHANGELOG.md", "Makefile", "mkdocs.yml", "docs/index.md",
                 "scripts/venv.sh", "tests/conftest.py", "runtime_c/kernels.toml",
                 "templates/export/cmake/CMakeLists.txt.j2"):  # fmt: skip
        assert path in inside, path
    with zipfile.ZipFile(made[0]) as archive:
        names = set(archive.namelist())
    assert "tinymill/share_data/templates/export/cmake/CMakeLists.txt.j2" in names
    assert "tinymill/export/formats.py" in names
    for name in ("page.html.j2", "page.css", "page.js"):
        assert f"tinymill/share_data/templates/report/{name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "docs/")) for name in names)
