"""Facts -> files: renders the templates and gathers the kernels a model uses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..schedule import Plan
from ..share import share
from .facts import ModelFacts, facts_of

INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)


@cache
def environment() -> Environment:
    """Jinja2 with line statements (``//%``); an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader(share("templates")),
        undefined=StrictUndefined,
        line_statement_prefix="//%",
        keep_trailing_newline=True,
        autoescape=False,
    )


def emit(plan: Plan, name: str) -> dict[str, str]:
    """The C of a model: relative path -> text. ``name`` is a C identifier.

    The same plan gives the same text: no dates, no paths.
    """
    return render(facts_of(plan, name), plan)


def render(facts: ModelFacts, plan: Plan, step: Plan | None = None) -> dict[str, str]:
    """The files of ``emit`` from facts already made; ``step`` is the plan of a step of training."""
    files = {
        f"{facts.name}{suffix}": environment().get_template(template).render(model=facts)
        for suffix, template in (
            (".h", "model.h.j2"),
            (".c", "model.c.j2"),
            ("_weights.h", "model_weights.h.j2"),
            ("_weights.c", "model_weights.c.j2"),
        )
    }
    plans = (plan,) if step is None else (plan, step)
    sources = {call.kernel.source for each in plans for call in each.steps}
    if facts.train is not None:
        sources.add(share("runtime_c") / "training" / "tm_store.c")
    if facts.front is not None:
        sources.add(share("runtime_c") / "frontend" / f"{facts.front.source}.c")
    files |= kernel_files(sources)
    return files


def kernel_files(sources: Iterable[Path]) -> dict[str, str]:
    """The given kernels and all headers they include, under ``kernels/``."""
    runtime = share("runtime_c")
    found: dict[str, str] = {}
    waiting = [runtime / "include" / "tm_status.h", *sorted(sources)]
    while waiting:
        path = waiting.pop()
        target = f"kernels/{path.name}"
        if target in found:
            continue
        text = path.read_text()
        found[target] = text
        for header in INCLUDE.findall(text):
            near = path.parent / header
            waiting.append(near if near.is_file() else runtime / "include" / header)
    return dict(sorted(found.items()))
