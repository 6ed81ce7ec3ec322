"""Builds emitted projects, runs them and measures them: one tool a file."""

from tinymill.deploy.build import build
from tinymill.deploy.cycles import Estimate
from tinymill.deploy.flashing import FlashPlan, flash, list_probes, plan_flash
from tinymill.deploy.forecast import Forecast, forecast
from tinymill.deploy.library import shared_library
from tinymill.deploy.measure import Measurement, OnBoard, measure
from tinymill.deploy.on_board import BoardLink, check_link, measure_on_board
from tinymill.deploy.project import RAM_ALLOWANCE, digest_of, target_files
from tinymill.deploy.toolchain import missing

__all__ = [
    "RAM_ALLOWANCE",
    "BoardLink",
    "Estimate",
    "FlashPlan",
    "Forecast",
    "Measurement",
    "OnBoard",
    "build",
    "check_link",
    "digest_of",
    "flash",
    "forecast",
    "list_probes",
    "measure",
    "measure_on_board",
    "missing",
    "plan_flash",
    "shared_library",
    "target_files",
]
