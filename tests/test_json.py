"""What --json prints is what the documented schemas say, for every command."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import typer.main
from test_bad_input import conv

from conftest import ROOT, need_tool
from tinymill import api
from tinymill.cli import app, main

SCHEMAS = ROOT / "docs" / "schemas"
MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"

# schema -> command lines whose output it describes
LINES = {
    "inspect": ("inspect MODEL", "inspect small.onnx"),
    "compile": ("compile MODEL -o out --target mps2-an386", "compile small.onnx -o out --io float",
                "compile small.onnx -o out --frontend front.toml"),
    "plan": ("plan MODEL", "plan small.onnx --plan min-time --picture plan.svg"),
    "report": ("report small.onnx -o page.html", "report small.onnx -o page.html --no-front "
               "--target mps2-an386 --measure --quantization-report errors.json"),
    "plan-pareto": ("plan small.onnx --pareto",),
    "run": ("run small.onnx -i pattern", "run small.onnx -i pattern --no-layers --sanitize",
            "run small.onnx -i pattern --target mps2-an386 --cycles"),
    "validate": ("validate small.onnx -i pattern", "validate small.onnx -i pattern --layers"),
    "quantize": ("quantize small.onnx -c samples.npy -o int8.onnx",),
    "export": ("export small.onnx -o out --format make",),
    "boards": ("boards",),
    "edit-compile": ("edit compile small.onnx -o out",
                     "edit compile small.onnx -o out --cache-limit 2000"),
    "edit-run": ("edit run engine --original samples.npy --edited more.npy -o out.npy",
                 "edit run engine --original samples.npy --edited samples.npy -o out.npy"),
}  # fmt: skip
CASES = [(name, line) for name, lines in LINES.items() for line in lines]


def test_every_command_has_a_schema() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    with_json = {
        name
        for name, command in commands.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert with_json <= {name.split("-")[0] for name in LINES}
    assert {path.stem for path in SCHEMAS.glob("*.json")} == set(LINES)


@pytest.mark.parametrize("name", LINES)
def test_schemas_are_schemas_of_described_things(name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all("description" in part for part in schema["properties"].values())


@pytest.mark.parametrize(("name", "line"), CASES)
def test_output_is_as_documented(
    name: str,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if line.startswith("quantize"):
        pytest.importorskip("onnxruntime")
    runs = ("run", "validate", "quantize", "edit run")
    if line.startswith(runs) or "--measure" in line:
        need_tool("cc", *(("arm-none-eabi-gcc", "qemu-system-arm") if "mps2" in line else ()))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.onnx").write_bytes(conv())
    (tmp_path / "front.toml").write_text('kind = "motion"\naxes = 16\n')
    (tmp_path / "errors.json").write_text('{"layers": []}')
    np.save(tmp_path / "samples.npy", np.ones((2, 2, 8, 8), np.float32))
    if name == "edit-run":
        np.save(tmp_path / "samples.npy", np.ones((1, 2, 8, 8), np.float32))
        np.save(tmp_path / "more.npy", np.eye(8, dtype=np.float32)[None, None].repeat(2, 1))
        api.edit_compile(tmp_path / "small.onnx", output=tmp_path / "engine")
    with pytest.raises(SystemExit) as end:
        main([*line.replace("MODEL", str(MODEL)).split(), "--json"])
    told = capsys.readouterr()
    assert end.value.code == 0, told.err
    assert told.out.count("\n") == 1
    found = json.loads(told.out)
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
    # each key counts: without it, and with one more, it is not that
    for wrong in ({k: v for k, v in found.items() if k != next(iter(found))}, {**found, "x": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema, cls=jsonschema.Draft202012Validator)
