"""``tinymill boards``."""

from __future__ import annotations

from .console import print_json, print_plain, size, table_of
from .options import Json


def command(as_json: Json = False) -> None:
    """List the targets."""
    from ..boards import list_boards, load_board  # noqa: PLC0415

    found = [load_board(name) for name in list_boards()]
    if as_json:
        print_json(
            {
                "boards": [
                    {
                        "name": board.name,
                        "title": board.title,
                        "core": board.core,
                        "features": list(board.features),
                        "ram": sum(region.size for region in board.ram),
                        "flash": sum(region.size for region in board.flash),
                    }
                    for board in found
                ]
            }
        )
        return
    table = table_of("name", "core", "features", ">RAM", ">flash", "what it is")
    for board in found:
        table.add_row(
            board.name, board.core, " ".join(board.features),
            size(sum(r.size for r in board.ram)), size(sum(r.size for r in board.flash)),
            board.title,
        )  # fmt: skip
    print_plain(table)
