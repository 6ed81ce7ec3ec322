"""Defaults of options from tinymill.toml and the environment: what wins, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tinymill
from conftest import ROOT
from tinymill import cli
from tinymill.defaults import defaults_of

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
OPTIONS = {
    "run": {"target": "target", "board": "target", "keep-inputs": "keep_inputs", "cc": "cc"},
    "plan": {"target": "target", "pareto": "pareto"},
}


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "c.toml").write_text(text)
    return tmp_path / "c.toml"


def test_a_command_wins_over_all_and_a_variable_over_the_file(tmp_path):
    file = written(tmp_path, '[run]\ntarget = "b"\nkeep-inputs = true\n[defaults]\ntarget = "a"\n')
    assert defaults_of(OPTIONS, file, {}) == {
        "run": {"target": "b", "keep_inputs": True},
        "plan": {"target": "a"},
    }
    variables = {"TINYMILL_TARGET": "c", "TINYMILL_RUN_TARGET": "d", "TINYMILL_PLAN_PARETO": "1"}
    assert defaults_of(OPTIONS, file, variables) == {
        "run": {"target": "d", "keep_inputs": True},
        "plan": {"target": "c", "pareto": "1"},
    }


def test_variables_of_another_meaning_stay_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = defaults_of(OPTIONS, None, {"TINYMILL_CC": "gcc", "TINYMILL_RUN_TARGET": ""})
    assert found == {"run": {}, "plan": {}}
    assert defaults_of(OPTIONS, None, {"TINYMILL_RUN_CC": "gcc"})["run"] == {"cc": "gcc"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[walk]\n", r"\[walk\] is no command"),
        ("[run]\nspeed = 1\n", r"\[run\] has no option speed"),
        ("[defaults]\nspeed = 1\n", "has no option speed"),
        ("[run]\ntarget = { a = 1 }\n", "neither text nor a number"),
        ("run = 1\n", "run is no table"),
        ("[run\n", "no TOML"),
        ("\0", "no TOML"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    with pytest.raises(tinymill.InvalidInput, match=message):
        defaults_of(OPTIONS, written(tmp_path, text), {})


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(tinymill.InvalidInput, match="No such file"):
        defaults_of(OPTIONS, tmp_path / "none.toml", {})


def command(capsys: pytest.CaptureFixture[str], *arguments, code: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    text = capsys.readouterr()
    assert end.value.code == code, text.err
    return text.out if code == 0 else text.err


def test_the_commands_take_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tinymill.toml").write_text(
        '[defaults]\ntarget = "mps2-an386"\n[plan]\nplan = "min-time"\njson = true\n'
    )
    found = json.loads(command(capsys, "plan", MODEL))
    assert (found["target"], found["plan"]) == ("mps2-an386", "min-time")
    found = json.loads(command(capsys, "plan", MODEL, "--target", "microbit"))
    assert found["target"] == "microbit"
    monkeypatch.setenv("TINYMILL_PLAN_TARGET", "host")
    assert json.loads(command(capsys, "plan", MODEL))["target"] == "host"
    monkeypatch.setenv("TINYMILL_CONFIG", str(tmp_path / "other.toml"))
    assert "other.toml: No such file" in command(capsys, "plan", MODEL, code=2)
    assert command(capsys, "--version").startswith("tinymill ")


def test_a_bad_value_says_where_it_is_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tinymill.toml").write_text('[plan]\noptimize = "fast"\n')
    assert "tinymill: tinymill.toml: Invalid value for" in command(capsys, "plan", MODEL, code=2)
    monkeypatch.setenv("TINYMILL_OPTIMIZE", "quick")
    told = command(capsys, "plan", MODEL, code=2)
    assert "tinymill: TINYMILL_OPTIMIZE: Invalid value for" in told
    assert "OPTIMIZE" not in command(capsys, "plan", MODEL, "--optimize", "slow", code=2)
    monkeypatch.setenv("TINYMILL_OPTIMIZE", "time")
    monkeypatch.setenv("TINYMILL_PLAN_TARGET", "nowhere")
    told = command(capsys, "plan", MODEL, code=2)
    assert "no board 'nowhere'" in told and "(nowhere is from TINYMILL_PLAN_TARGET; known:" in told
    told = command(capsys, "plan", MODEL, "--target", "nothing", code=2)
    assert "no board 'nothing'" in told and "is from" not in told


def test_verbose_names_the_programs(capsys, caplog):
    caplog.set_level("INFO", logger="tinymill")
    command(capsys, "--verbose", "run", MODEL, "--input", "pattern", "--no-layers")
    assert any(" -c " in record.getMessage() for record in caplog.records)


def test_no_color(monkeypatch):
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    monkeypatch.setenv("FORCE_COLOR", "1")
    argv = [sys.executable, "-m", "tinymill", "inspect", str(MODEL)]
    assert "\x1b[" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert "\x1b[3" not in text and "\x1b[9" not in text
