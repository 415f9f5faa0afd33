"""What the batch scripts share: a command in a child process, its events on the terminal, its exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import slicer

from TransferSegLib.errors import TransferSegError

from .packages import requireReady
from .worker import Outcome, Worker


def runCommand(arguments: Sequence[str], quiet: bool = False) -> Outcome:
    """Run a `transferseg` command, tell on the terminal what it does, and wait for its end.

    Raises
    ------
    DependencyError : a package is missing.
    """
    requireReady()
    worker = Worker(arguments, (lambda event: None) if quiet else _tell)
    worker.start()
    return worker.wait()


def main(work: Callable[[], int]) -> None:
    """Do the work of a script and end Slicer with its exit code, one of those of the `transferseg` command."""
    try:
        code = work()
    except TransferSegError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    except SystemExit as error:  # the command line was wrong
        code = error.code if isinstance(error.code, int) else 2
    except BaseException:
        import traceback

        # Without this Slicer would stay open for ever.
        traceback.print_exc()
        code = 1
    slicer.util.exit(code)


def parser(description: str) -> argparse.ArgumentParser:
    """Of a script's command line; what it does not know is handed on to the `transferseg` command."""
    made = argparse.ArgumentParser(description=description, allow_abbrev=False)
    made.add_argument("--quiet", action="store_true", help="print errors only")
    return made


def failed(outcome: Outcome) -> int:
    """Say what went wrong with a whole command; its exit code, 1 when it crashed."""
    if not outcome.ok:
        print(f"Error: {outcome.message}", file=sys.stderr, flush=True)
        if outcome.code == -1 and outcome.log:
            print(outcome.log, file=sys.stderr, flush=True)
    return outcome.code if outcome.code >= 0 else 1


def _tell(event: dict[str, Any]) -> None:
    kind = event["event"]
    case = f"{event['case']}: " if event.get("case") else ""
    if kind == "progress" and event["step"]:
        print(f"{event['stage']} {event['step']}/{event['of']} {event['detail']}".rstrip(), flush=True)
    elif kind == "message":
        print(event["text"], flush=True)
    elif kind == "warning":
        print(f"Warning: {case}{event['text']}", flush=True)
    elif kind == "error":
        print(f"Error: {case}{event['cause']} {event['remedy']}", file=sys.stderr, flush=True)
    elif kind == "metric":
        numbers = ", ".join(f"{key} {value:.3f}" for key, value in event["values"].items() if value is not None)
        print(f"epoch {event['step']}: {numbers}", flush=True)
