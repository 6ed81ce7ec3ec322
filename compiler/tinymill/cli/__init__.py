"""The commands: arguments in, tables or JSON out; no logic. One module a command."""

from .process import main
from .root import app

__all__ = ["app", "main"]
