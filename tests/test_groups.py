"""Options that commands share: how a group becomes options, and that the api knows them all."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from inspect import signature
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from conftest import ROOT
from tinymill import api
from tinymill.api.options import CompileOptions as ApiOptions
from tinymill.api.options import Wanted
from tinymill.cli.groups import Group, spread, without
from tinymill.cli.options import CompileOptions, ProjectOptions, RunOptions
from tinymill.cli.root import COMMANDS


class Colour(StrEnum):
    red = "red"
    blue = "blue"


@dataclass(frozen=True)
class Paint(Group):
    colour: Annotated[Colour, typer.Option("--colour", help="of the paint")] = Colour.red
    coats: Annotated[int | None, typer.Option(min=1)] = None
    matt: Annotated[bool, typer.Option("--matt")] = False
    dry: Annotated[bool, typer.Option()] = True


def program(found: list[Any], *left_out: str) -> typer.Typer:
    app = typer.Typer()

    def command(
        *,
        wall: Annotated[str, typer.Argument()],
        paint: Annotated[Paint, without(*left_out)],
        twice: Annotated[bool, typer.Option("--twice")] = False,
    ) -> None:
        """Paint a wall."""
        found.extend([wall, paint, twice])

    # what the annotations of this module, which are text, can't see
    command.__annotations__["paint"] = Annotated[Paint, without(*left_out)]
    app.command()(spread(command))
    return app


def test_a_group_brings_its_options_in_place() -> None:
    found: list[Any] = []
    app = program(found)
    text = CliRunner().invoke(app, ["--help"], env={"TERM": "dumb"}).output
    assert "Paint a wall." in text and "of the paint" in text
    places = [text.index(option) for option in ("--colour", "--coats", "--matt", "--twice")]
    assert places == sorted(places)
    done = CliRunner().invoke(app, ["north", "--colour", "blue", "--no-dry", "--twice"])
    assert done.exit_code == 0, done.output
    assert found == ["north", Paint(colour=Colour.blue, dry=False), True]
    assert found[1].keywords() == {"colour": "blue", "dry": False}


def test_what_is_left_out_keeps_its_default() -> None:
    found: list[Any] = []
    app = program(found, "colour", "dry")
    assert CliRunner().invoke(app, ["north", "--colour", "blue"]).exit_code == 2
    assert CliRunner().invoke(app, ["north", "--coats", "2", "--matt"]).exit_code == 0
    assert found[1] == Paint(coats=2, matt=True)
    assert CliRunner().invoke(app, ["north", "--coats", "0"]).exit_code == 2


def test_only_what_is_there_can_be_left_out() -> None:
    with pytest.raises(AssertionError, match="Paint has no"):
        program([], "size")


def test_every_module_of_a_command_is_registered() -> None:
    folder = ROOT / "compiler" / "tinymill" / "cli"
    found = {
        path.stem.replace("_", "-")
        for path in folder.glob("*.py")
        if "\ndef command(" in path.read_text()
    }
    assert found == set(COMMANDS) and len(COMMANDS) == len(found)


@pytest.mark.parametrize(
    ("call", "group", "left_out"),
    [
        (api.compile, CompileOptions, ()),
        (api.run, ProjectOptions, ()),
        (api.run, RunOptions, ()),
        (api.export_model, ProjectOptions, ("step", "frontend")),
        (api.validate, RunOptions, ()),
    ],
)
def test_the_api_takes_every_option(call: Any, group: type[Group], left_out: tuple) -> None:
    names = {field.name for field in fields(group)} - set(left_out)
    keywords = {"shapes" if name == "shape" else name for name in names}
    assert keywords <= signature(call).parameters.keys()


def test_options_of_a_file_and_of_a_folder_are_the_same() -> None:
    assert [field.name for field in fields(Wanted)] == [field.name for field in fields(ApiOptions)]
    assert {field.name for field in fields(ProjectOptions)} - {"shape"} == {
        field.name for field in fields(ApiOptions)
    } - {"shapes"}


def test_what_is_not_said_of_a_file_is_the_default() -> None:
    assert Wanted().options() == ApiOptions()
    said = Wanted(io="float", plan="", step=3, keep_inputs=True, fast_ram=0).options()
    assert said == ApiOptions(io="float", step=3, keep_inputs=True, fast_ram=0)
