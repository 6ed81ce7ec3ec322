"""``tinymill report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import one_line
from .console import out, print_json, size, working
from .options import CompileOptions, Json, Model, Name, Target

if TYPE_CHECKING:
    from ..api import Reported


def command(
    *,
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="FILE.html: the page", show_default=False)
    ],
    target: Target = "host",
    options: CompileOptions,
    name: Name = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="count each layer's instructions in the board's simulator"),
    ] = False,
    front: Annotated[
        bool, typer.Option(help="the plans between the fastest and the smallest")
    ] = True,
    quantization_report: Annotated[
        Path | None,
        typer.Option(
            "--quantization-report",
            help="FILE.json: what quantize --json printed; the page shows its errors",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page about a model on a board: network, RAM, flash, time, plans, findings."""
    from .. import api  # noqa: PLC0415

    with working("planning and building"):
        found = api.report_model(
            model, target=target, output=output, name=name, measure=measure, front=front,
            quantization_report=quantization_report, **options.keywords(),
        )  # fmt: skip
    if as_json:
        print_json(_report_json(found))
    else:
        _show(found)


def _report_json(found: Reported) -> dict[str, Any]:
    subject = found.subject
    code = subject.code
    return {
        "model": subject.model,
        "target": subject.board.name,
        "output": str(found.output),
        "bytes": found.bytes,
        "fits": not subject.missing and subject.refusal is None,
        "ram": {
            "arena": subject.plan.arena_bytes,
            "context": subject.static,
            "stack": subject.stack,
            "total": subject.used("ram"),
            "available": subject.available("ram"),
        },
        "flash": {
            "code": None if code is None else code.code,
            "weights": subject.facts.weights_bytes,
            "total": subject.used("flash"),
            "available": subject.available("flash"),
        },
        "instructions": subject.instructions,
        "measured": subject.measured is not None,
        "layers": [
            {"name": layer.name, "op": layer.op, "instructions": count}
            for layer, count in zip(subject.layers, subject.times, strict=True)
        ],
        "plans": len(subject.front),
        "findings": [
            {**vars(finding), "layers": [subject.layers[index].name for index in finding.layers]}
            for finding in found.findings
        ],
    }


def _show(found: Reported) -> None:
    subject = found.subject
    for kind, title in (("ram", "RAM"), ("flash", "flash")):
        available = subject.available(kind)
        of = "" if available is None else f" of {available:,}"
        out.print(f"{title:<12} {subject.used(kind):>13,}{of} bytes")
    how = "counted" if subject.measured is not None else "estimated"
    out.print(f"instructions {subject.instructions:>13,} ({how})")
    for finding in found.findings:
        helps = "" if finding.option is None else f" ({finding.option})"
        style = "red" if finding.weight == "error" else None
        out.print(f"{finding.weight}: {finding.text}{helps}", style=style)
    out.print(f"written to {one_line(str(found.output), 4096)}, {size(found.bytes)}")
