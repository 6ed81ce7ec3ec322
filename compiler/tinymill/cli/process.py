"""The program ``tinymill``: its exit codes, its signals, one line for every failure."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from ..errors import TinymillError
from .console import say
from .root import app

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""click's, or that of the copy of click that newer typers bring."""
USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> None:
    """The program ``tinymill``: exit code 2 and one line for whatever a user can cause."""
    _prepare()
    try:
        try:
            code = app(args=None if arguments is None else list(arguments), standalone_mode=False)
        finally:
            # here, for at exit it could only be reported as an ignored exception
            if sys.stdout is not None:
                sys.stdout.flush()
        sys.exit(code or 0)
    except UsageError as error:
        _fail_usage(error)
    except TinymillError as error:
        _fail(error)
    except BrokenPipeError:
        _close_stdout()
        sys.exit(1)
    except MemoryError:
        _fail(TinymillError("out of memory on this machine"))
    except OSError as error:
        _close_stdout()
        at = None if error.filename is None else str(error.filename)
        _fail(TinymillError(error.strerror or str(error), at=at))
    except (KeyboardInterrupt, SystemExit) as end:
        # typer turns Ctrl-C into this exit code
        if isinstance(end, KeyboardInterrupt) or end.code == INTERRUPTED:
            say.print("tinymill: interrupted")
            sys.exit(INTERRUPTED)
        raise


def _prepare() -> None:
    """Makes the process one that cleans up, says one line and chokes on no name."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries say to programmers
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminated)


def _terminated(*_: object) -> NoReturn:
    """On SIGTERM and SIGHUP: leave through every ``with``, so that nothing half-written stays."""
    sys.exit(TERMINATED)


def _fail_usage(error: Any) -> NoReturn:
    """One line for arguments that no command takes; the whole help where there were none."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(USER_ERROR)
    context = error.ctx
    hint = None if context is None else f"{context.command_path} --help explains"
    # without the words that the check of a choice puts before its own
    problem = error.format_message().replace("Value error, ", "")
    _fail(TinymillError(problem.rstrip("."), hint=hint))


def _fail(error: TinymillError) -> NoReturn:
    say.print(f"tinymill: {error}")
    sys.exit(USER_ERROR)


def _close_stdout() -> None:
    """What is still buffered goes nowhere, so that the end of the process doesn't fail on it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
