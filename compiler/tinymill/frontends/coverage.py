"""Which of a file's ops tinymill lacks: all of them at once, so that a user sees the whole gap."""

from __future__ import annotations

from collections.abc import Container, Iterable

from ..errors import UnsupportedOp


def check_supported(nodes: Iterable[tuple[str, str]], known: Container[str], source: str) -> None:
    """Raises ``UnsupportedOp`` naming every op that is not ``known``, and where it stands.

    ``nodes`` are (op, name of the node) in order, ``source`` is the format's name.
    """
    places: dict[str, list[str]] = {}
    for kind, name in nodes:
        if kind not in known:
            places.setdefault(kind, []).append(name)
    if not places:
        return
    hint = "an op is one file in compiler/tinymill/ops/"
    if len(places) == 1:
        ((kind, names),) = places.items()
        more = f" ({len(names)} nodes)" if len(names) > 1 else ""
        raise UnsupportedOp(f"{source} op {kind} is not supported{more}", at=names[0], hint=hint)
    listed = ", ".join(
        f"{kind} at '{names[0]}'" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for kind, names in places.items()
    )
    raise UnsupportedOp(f"{source} ops that are not supported: {listed}", hint=hint)
