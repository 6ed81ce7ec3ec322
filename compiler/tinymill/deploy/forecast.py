"""What a model's code and stack will take, told by the compiler before anything is flashed.

Builds the project without its weights (their size is known), which takes a second or two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import networkx as nx

from tinymill.boards import Board
from tinymill.deploy import toolchain
from tinymill.deploy.build import TIMEOUT, compile_argv, link_argv
from tinymill.deploy.process import run_process
from tinymill.deploy.recipe import Recipe, recipe
from tinymill.deploy.size import object_sizes, program_sizes
from tinymill.errors import TinymillError

_NODE = re.compile(r'^node: \{ title: "([^"]+)"')
_STACK = re.compile(r"\\n(\d+) bytes \((\w+)")
_EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')


@dataclass(frozen=True)
class Forecast:
    """Bytes of code flash, and of stack below the caller of run (library calls not counted).

    ``stack`` is None where the compiler can't tell it (clang, or a frame of unknown size).
    """

    code: int
    stack: int | None


def forecast(files: Mapping[str, str], board: Board, model: str) -> Forecast | None:
    """The figures of a project that is not written yet; None where they can't be had (its
    compiler is missing or refuses it, the temporary folder is full).

    ``files`` are the project's, path -> text.
    """
    try:
        if toolchain.compiler_name(board)[0] in toolchain.missing(board):
            return None
        command = toolchain.compiler(board)
        steps = recipe(board, model)
        with TemporaryDirectory(prefix="tinymill-") as name:
            project, folder = Path(name) / "project", Path(name) / "build"
            for path, text in files.items():
                if not path.endswith("_weights.c"):
                    target = project / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(text)
            return _measured(command, steps, board, model, project, folder)
    except (OSError, TinymillError):
        return None


def _measured(
    command: tuple[str, ...],
    steps: Recipe,
    board: Board,
    model: str,
    project: Path,
    folder: Path,
) -> Forecast | None:
    for unit in steps.units:
        (folder / unit.object).parent.mkdir(parents=True, exist_ok=True)
        if unit.source.endswith("_weights.c"):
            continue
        argv = compile_argv(command, steps, unit, project)
        if not unit.harness and _run((*argv, "-fcallgraph-info=su"), folder):
            continue
        if not _run(argv, folder):
            return None
    graph = folder / "model" / f"{model}.ci"
    text = graph.read_text() if graph.is_file() else ""
    # what the caller calls: of these a model has one or two
    stacks = [
        deepest(text, f"{model}_{name}", rf"{re.escape(model)}_f\d+")
        for name in ("frontend_push", "push_rows", "reset", "step", "run", "train_step")
        if f'title: "{model}_{name}"' in text
    ]
    stack = None if None in stacks else max((s for s in stacks if s is not None), default=None)
    if board.is_host:
        own = folder / "model" / f"{model}.o"
        return Forecast(object_sizes(own, None).code, stack)
    link = [
        argument
        for argument in link_argv(command, steps, project)
        if not argument.endswith("_weights.o")
    ]
    if not _run((*link, "-Wl,--unresolved-symbols=ignore-all"), folder):
        return None
    return Forecast(program_sizes(folder / steps.program).code, stack)


POINTER = "__indirect_call"
"""What gcc names as the target of all calls by pointer."""


def _run(argv: tuple[str, ...], folder: Path) -> bool:
    return run_process(argv, folder, timeout=TIMEOUT).code == 0


def deepest(text: str, entry: str, fed: str | None = None) -> int | None:
    """Bytes of stack on the deepest path of calls from ``entry``, itself included.

    ``text`` is what gcc writes with -fcallgraph-info=su, ``fed`` a pattern of the functions that
    calls by pointer may reach. None where a frame's size is not
    static or calls are recursive.
    """
    frames: dict[str, int] = {}
    calls = nx.DiGraph()
    for line in text.splitlines():
        node, edge = _NODE.match(line), _EDGE.match(line)
        if node:
            stack = _STACK.search(line)
            if stack and stack[2] != "static":
                return None
            frames[node[1]] = int(stack[1]) if stack else 0
            calls.add_node(node[1])
        elif edge:
            calls.add_edge(edge[1], edge[2])
    if fed is not None and POINTER in calls:
        for name in frames:
            if re.fullmatch(rf"(.*:)?{fed}(\..*)?", name):
                calls.add_edge(POINTER, name)
    if entry not in calls:
        return None
    calls = calls.subgraph({entry} | nx.descendants(calls, entry))
    if not nx.is_directed_acyclic_graph(calls):
        return None
    depth: dict[str, int] = {}
    for name in reversed(list(nx.topological_sort(calls))):
        below = max((depth[other] for other in calls.successors(name)), default=0)
        depth[name] = frames.get(name, 0) + below
    return depth[entry]
