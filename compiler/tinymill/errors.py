"""Every failure that a user can cause, as one small family of exceptions.

The command line prints ``str(error)`` on one line and exits with code 2; nothing else in
tinymill turns exceptions into text. An ``AssertionError`` (or any exception from outside
this family) means a bug of ours.
"""

from __future__ import annotations


class TinymillError(Exception):
    """Base of all errors that a file, an argument or the machine can cause.

    ``at`` names the place (a node, a tensor, a file), ``hint`` what the user can do.
    """

    def __init__(self, problem: str, *, at: str | None = None, hint: str | None = None) -> None:
        self.problem = problem
        self.at = at
        self.hint = hint
        super().__init__(problem)

    def __str__(self) -> str:
        problem = one_line(self.problem, 800)
        text = f"{one_line(self.at, 200)}: {problem}" if self.at else problem
        return f"{text} ({one_line(self.hint, 400)})" if self.hint else text


def one_line(text: str, most: int) -> str:
    """``text`` as one line of at most ``most`` characters that every terminal survives."""
    text = " ".join(text.split())
    if len(text) > most:
        text = f"{text[: most - 3]}..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class CompileError(TinymillError):
    """The model is readable but can't be compiled as asked."""


class UnsupportedOp(CompileError):
    """A node whose op, or whose combination of attributes and types, tinymill lacks."""


class InvalidModel(CompileError):
    """The model file is broken, inconsistent or hostile."""


class InvalidInput(TinymillError):
    """Data given to a run has the wrong type, shape or format."""


class InvalidScheme(TinymillError):
    """A scheme of training is malformed, or asks for what the model doesn't have."""


class OutOfMemory(CompileError):
    """The plan needs more RAM or flash than the board or the budget has."""

    def __init__(
        self,
        what: str,
        *,
        needed: int,
        available: int,
        at: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.needed = needed
        self.available = available
        super().__init__(
            f"{what}: needs {needed:,} bytes, {available:,} available, "
            f"{needed - available:,} too many",
            at=at,
            hint=hint,
        )


class BoardError(TinymillError):
    """A board file is missing, malformed, or lacks what was asked of it."""


class ToolMissing(TinymillError):
    """An external program or optional package is not installed."""

    def __init__(self, tool: str, *, install: str) -> None:
        self.tool = tool
        super().__init__(f"{tool} is not installed", hint=f"install it with: {install}")


class ToolFailed(TinymillError):
    """An external program (compiler, simulator) ended with an error."""
