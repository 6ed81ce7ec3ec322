"""``tinymill plan``: tables, JSON and pictures of plans and of the front between time and RAM."""

from __future__ import annotations

import errno
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from onnx import TensorProto, helper

import tinymill
from conftest import ROOT
from tinymill.errors import TinymillError
from tinymill.report import kind_of, marks_of, picture, segments_of
from tinymill.schedule import Plan

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
BOARD = "mps2-an386"


def call(*arguments, code: int = 0, before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"import sys\n{before}\nfrom tinymill.cli import main\nmain(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, "plan", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def person(shared: Path) -> Path:
    return shared / "models" / "tflm" / "person_detect.tflite"


@pytest.fixture(scope="module")
def least(person: Path) -> Plan:
    return tinymill.plan_model(person, target=BOARD)


@pytest.fixture(scope="module")
def front(person: Path) -> tuple[Plan, ...]:
    return tinymill.front(person, target=BOARD)


def test_table_names_segments_and_totals(person, least):
    text = call(person, "--target", BOARD).stdout
    assert " layers " in text
    assert "Conv2d_2_depthwise/Relu6" in text
    assert f"{least.arena_bytes:,} bytes of RAM" in text
    assert f"{least.cost:,} (estimated)" in text
    rows = [line for line in text.splitlines() if line.split()[0].isdigit()]
    assert len(rows) == len(least.segments)


def test_a_board_too_small_is_shown_not_refused(person):
    text = call(person, "--target", "microbit", "--plan", "min-time").stdout
    assert "does not fit microbit: 16,384 bytes of RAM" in text


def test_json_has_what_the_plan_has(person, least):
    found = json.loads(call(person, "--target", BOARD, "--json").stdout)
    assert found["model"] == "person_detect.tflite"
    assert found["target"] == BOARD
    assert found["plan"] == "min-ram"
    assert found["picture"] is None
    assert found["arena"] == {"bytes": least.arena_bytes, "lower_bound": least.placement.bound}
    assert found["instructions"] == sum(each["instructions"] for each in found["segments"])
    assert sum(len(each["layers"]) for each in found["segments"]) == len(least.layers)
    ends = [buffer["offset"] + buffer["size"] for buffer in found["buffers"]]
    assert max(ends) == found["arena"]["bytes"]
    assert {"input", "output", "activation", "ring", "scratch"} == {
        buffer["kind"] for buffer in found["buffers"]
    }


def test_front_as_table_and_json(shared, tmp_path):
    model = shared / "models" / "mlperf_tiny" / "vww_96_int8.tflite"
    text = call(model, "--pareto", "--picture", tmp_path / "front.png").stdout
    assert "fastest" in text
    assert "smallest" in text
    assert f"written to {tmp_path / 'front.png'}" in text
    found = json.loads(call(model, "--pareto", "--json").stdout)["front"]
    assert len(found) > 1
    arenas = [each["arena"]["bytes"] for each in found]
    costs = [each["instructions"] for each in found]
    assert arenas == sorted(arenas, reverse=True)
    assert costs == sorted(costs)
    assert found[0]["instructions_ratio"] == found[0]["arena_ratio"] == 1
    assert found[0]["marks"][0] == "fastest"
    assert found[-1]["marks"][-1] == "smallest"
    assert found[-1]["streamed_segments"] > 0


def test_a_small_model_without_maps(shared):
    model = shared / "models" / "tflm" / "hello_world_int8.tflite"
    assert json.loads(call(model, "--json").stdout)["arena"]["bytes"] == 32


def test_a_model_that_computes_nothing_has_a_front(tmp_path):
    node = helper.make_node("Identity", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    (tmp_path / "same.onnx").write_bytes(model.SerializeToString())
    (plan,) = tinymill.front(tmp_path / "same.onnx", target=BOARD)
    assert (plan.arena_bytes, plan.cost, plan.segments) == (16, 0, ())


@pytest.mark.parametrize("goal", ["min-time", "balanced", "min-ram", "patched"])
def test_segments_share_the_cost_and_count_each_buffer_once(person, goal):
    plan = tinymill.plan_model(person, target=BOARD, plan=goal)
    figures = segments_of(plan)
    assert sum(each.instructions for each in figures) == plan.cost
    for index, each in enumerate(figures):
        parts = each.inputs + each.outputs + each.rings + each.scratch + each.held
        assert parts == sum(buffer.size for buffer in plan.live_at(index))
        assert each.arena == plan.top_at(index)


def test_marks_of_a_front(front):
    marks = marks_of(front)
    assert marks[0].startswith("fastest")
    assert marks[-1].endswith("smallest")
    assert sum("balanced" in mark for mark in marks) == 1
    assert marks_of(front[:1]) == ("fastest, balanced, smallest",)


@pytest.mark.parametrize("pareto", [False, True])
def test_png_and_svg(person, tmp_path, pareto):
    options = ["--pareto"] if pareto else []
    call(person, *options, "--picture", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    for name in ("b.svg", "c.SVG"):
        found = json.loads(call(person, *options, "--picture", tmp_path / name, "--json").stdout)
        assert found["picture"] == str(tmp_path / name)
    content = (tmp_path / "b.svg").read_bytes()
    assert content == (tmp_path / "c.SVG").read_bytes()
    root = ElementTree.fromstring(content)
    assert root.tag.endswith("svg")
    text = "".join(root.itertext())
    assert "person_detect.tflite on host" in text
    assert ("smallest" if pareto else "peak") in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.svg", "c.SVG"]


def test_no_text_lies_on_another(least, front):
    with picture._style():
        drawn = [picture._Arena(least, "title").draw(), picture._front(front, "title")]
        for figure in drawn:
            figure.canvas.draw()
            renderer = figure.canvas.get_renderer()
            (axes,) = figure.axes
            texts = [text for text in (*axes.texts, axes.title, *figure.texts) if text.get_text()]
            boxes = [text.get_window_extent(renderer) for text in texts]
            assert len(boxes) > 5
            for box, text in zip(boxes, texts, strict=True):
                assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
                assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
            for (one, a), (other, b) in itertools.combinations(zip(boxes, texts, strict=True), 2):
                assert not one.overlaps(other), (a, b)


def test_every_kind_has_a_colour(least):
    assert {kind_of(least, buffer) for buffer in least.buffers} <= set(picture.COLOURS)
    assert set(picture.COLOURS) == set(picture.NAMES)


def test_names_are_shortened_by_what_they_share():
    names = [f"net/net/conv_{index}/Relu6" for index in range(6)]
    dots = picture.DOTS
    assert picture.telling([*names, "in"]) == [f"{dots}conv_{i}{dots}" for i in range(6)] + ["in"]
    assert picture.telling(["a", "b"]) == ["a", "b"]
    assert picture.telling([]) == []
    assert picture.short_name("a" * 30 + "end", 6) == f"{dots}aaend"


def test_the_users_settings_of_matplotlib_change_nothing(least, tmp_path):
    import matplotlib  # noqa: PLC0415

    tinymill.save_picture(least, tmp_path / "a.svg", title="$1 & <b>")
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "black"}):
        tinymill.save_picture(least, tmp_path / "b.svg", title="$1 & <b>")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_failed_write_leaves_nothing_and_keeps_the_old(least, tmp_path, monkeypatch):
    path = tmp_path / "plan.svg"
    path.write_text("old")

    class Full(io.FileIO):
        def write(self, content):
            super().write(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = Path.open

    def full(self, mode="r", *rest):
        return Full(self, mode) if "w" in mode else opened(self, mode, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(TinymillError, match="can't be written: No space left"):
            tinymill.save_picture(least, path)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["plan.svg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--picture", "plan.pdf"), "plan.pdf: pictures are written as .png or .svg"),
        (("--picture", "missing/plan.png"), "missing/plan.png: can't be written: there is no such"),
        (("--target", "nowhere"), "there is no board 'nowhere'"),
        (("--plan", "fast"), "plan is 'fast', not one of"),
        (("--pareto", "--plan", "min-ram"), "the front holds the plans of all goals"),
    ],
)
def test_mistakes_are_one_line(options, message):
    done = call(MODEL, *options, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_broken_model_is_one_line(tmp_path):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\x1c\0\0\0TFL3" + bytes(range(100)))
    for options in ((), ("--pareto",), ("--picture", tmp_path / "a.png")):
        done = call(broken, *options, code=2)
        assert done.stderr.startswith("tinymill: ")
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["broken.tflite"]


def test_matplotlib_is_needed_for_pictures_only(tmp_path):
    without = "sys.modules['matplotlib'] = None"
    assert "arena" in call(MODEL, before=without).stdout
    assert "smallest" in call(MODEL, "--pareto", before=without).stdout
    done = call(MODEL, "--picture", tmp_path / "a.png", before=without, code=2)
    assert done.stderr == (
        "tinymill: matplotlib is not installed (install it with: pip install 'tinymill[plot]')\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_help_explains():
    text = call("--help").stdout
    assert "--pareto" in text
    assert "--picture" in text
