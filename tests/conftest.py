"""Shared fixtures: where the models lie, which tools are there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def shared_folder() -> Path:
    """The folder of models and data sets outside the project."""
    return Path(os.environ.get("TINYMILL_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """``TINYMILL_SHARED`` (default ../shared); without it a test skips, in CI it fails."""
    folder = shared_folder()
    if not (folder / "baselines.json").is_file():
        absent(f"no models at {folder}; set TINYMILL_SHARED")
    return folder


def absent(what: str) -> None:
    """Skips visibly, or fails in CI, where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def need_tool(*names: str) -> None:
    """Skips (in CI: fails) a test that needs programs which are not installed."""
    for name in names:
        if shutil.which(name) is None:
            absent(f"{name} is not installed")
