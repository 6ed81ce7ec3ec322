"""Rows that are held in another value's ring: where a row has just died, the next one may lie.

A kernel that is done with a channel of its input before it writes that channel of its output
(``Step.by_channel``) may write a row over one that it reads for the last time. So a depthwise
convolution that takes turns needs no row of its own: its output is a guest in its input's ring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..ir import Window
from .plan import Guest

if TYPE_CHECKING:
    from .steps import Workshop
    from .streaming import Stream


def guests_of(workshop: Workshop, stream: Stream) -> dict[str, Guest]:
    """The values of ``stream`` of which one row at a time is held in another's ring."""
    found: dict[str, Guest] = {}
    hosts: set[str] = set()
    for index, member in enumerate(stream.members):
        node = member.node
        if len(node.outputs) != 1 or stream.most_rows[index] != 1:
            continue
        value, host = node.outputs[0], node.inputs[0]
        if stream.rings.get(value) != 1 or host not in stream.rings:
            continue
        if host in hosts or host in found or not workshop.by_channel(node):
            continue
        guest = _guest(workshop, stream, index, value, host)
        if guest is not None:
            found[value] = guest
            hosts.add(host)
    return found


def _guest(
    workshop: Workshop, stream: Stream, index: int, value: str, host: str
) -> Guest | None:  # fmt: skip
    """``value``, which the node at ``index`` makes of ``host``, as a guest; None where there is
    not always the same place free."""
    graph = workshop.graph
    kind, other = graph.type(value), graph.type(host)
    _, height, width, channels = kind.shape
    if width > other.shape[2] or channels != other.shape[3] or kind.dtype != other.dtype:
        return None
    rows = np.arange(height + 1)
    readings = stream.readings.get(value, ())
    if not readings or not all(
        np.array_equal(reader.unread, rows) and np.array_equal(reader.taken, rows)
        for _, reader in readings
    ):
        return None
    if stream.starts[index] or stream.done[index][-1] != height:
        return None
    # the number of the turn with which each row is there, and of the last one that reads it
    count = len(stream.members)
    made = _turns(stream.done[index], height, index, count)
    read = np.max(
        [_turns(stream.done[i], height, stream.turn_of(i), count) for i, _ in readings], axis=0
    )
    maker = stream.maker[host]
    host_height = other.shape[1]
    host_made = _turns(stream.done[maker], host_height, maker, count)
    host_read = np.max(
        [
            _turns(reader.unread[stream.done[i]], host_height, stream.turn_of(i), count)
            for i, reader in stream.readings[host]
        ],
        axis=0,
    )
    # while row y is held, the host's rows from first[y] to, without, behind[y] are needed
    first = np.searchsorted(host_read, made, "right")
    behind = np.searchsorted(host_made, read, "left")
    window = stream.members[index].node.op.windows(graph.node_types(stream.members[index].node))[0]
    if not isinstance(window, Window):
        return None
    for shift in range(stream.rings[host]):
        guest = Guest(host, window.stride, shift, stream.rings[host])
        free = (guest.places(np.arange(height)) - first) % guest.rows >= behind - first
        if free.all():
            return guest
    return None


def _turns(done: np.ndarray, height: int, index: int, count: int) -> np.ndarray:
    """For each row the number of the turn after which ``done`` counts it."""
    return np.searchsorted(done, np.arange(height), "right") * count + index
