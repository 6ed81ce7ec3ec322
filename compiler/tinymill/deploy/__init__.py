"""Builds emitted projects, runs them and measures them: one tool a file."""

from tinymill.deploy.build import build
from tinymill.deploy.cycles import Estimate
from tinymill.deploy.flashing import FlashPlan, flash, list_probes, plan_flash
from tinymill.deploy.forecast import Forecast, forecast
from tinymill.deploy.library import shared_library
from tinymill.deploy.measure import Measurement, OnBoard, measure
from tinymill.deploy.on_board import BoardLink, check_link, measure_on_board
from tinymill.deploy.project import RAM_ALLOWANCE, digest_of, regions_for, target_files
from tinymill.deploy.symbols import Linked, linked
from tinymill.deploy.toolchain import missing

__all__ = [
    "RAM_ALLOWANCE",
    "BoardLink",
    "Estimate",
    "FlashPlan",
    "Forecast",
    "Linked",
    "Measurement",
    "OnBoard",
    "build",
    "check_link",
    "digest_of",
    "flash",
    "forecast",
    "linked",
    "list_probes",
    "measure",
    "measure_on_board",
    "missing",
    "plan_flash",
    "regions_for",
    "shared_library",
    "target_files",
]
