"""Two plans whose graphs have variables in common: one layout of the state for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import CompileError
from ..ir import Graph
from .plan import Plan
from .planner import state_of


def changed_by(graph: Graph, first: Sequence[str] = ()) -> tuple[str, ...]:
    """The variables that nodes of ``graph`` change, each once: those of ``first`` in its order,
    then the others in the graph's."""
    changed = {node.inputs[i] for node in graph.nodes for i in node.op.mutates}
    ordered = dict.fromkeys((*first, *graph.variables))
    return tuple(name for name in ordered if name in changed)


def sharing(run: Plan, step: Plan, first: Sequence[str] = ()) -> tuple[Plan, Plan]:
    """Both plans with the variables of both, at the same places: those that a step changes as
    ``changed_by`` has them, so that they follow each other, then the others.

    Raises ``CompileError`` where a variable of both differs in type or first value.
    """
    both: dict[str, np.ndarray] = {**step.graph.variables, **run.graph.variables}
    for name, value in step.graph.variables.items():
        other = run.graph.variables.get(name, value)
        same = step.graph.type(name) == run.graph.types.get(name, step.graph.type(name))
        if not same or not np.array_equal(np.asarray(value), np.asarray(other)):
            raise CompileError("a variable of two graphs that differs between them", at=name)
    changed = changed_by(step.graph, first)
    names = (*changed, *(name for name in both if name not in set(changed)))
    variables = {name: both[name] for name in names}
    return _with(run, step.graph, variables), _with(step, run.graph, variables)


def _with(plan: Plan, other: Graph, variables: Mapping[str, np.ndarray]) -> Plan:
    types = dict(plan.graph.types)
    types |= {name: other.type(name) for name in variables if name not in types}
    graph = plan.graph.replace(variables=variables, types=types)
    state, state_bytes = state_of(graph)
    return replace(plan, graph=graph, state=state, state_bytes=state_bytes)
