"""The command for tests: run in this process or in one of its own, with what it said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

import TransferSegLib
from TransferSegLib import engines
from TransferSegLib.cli import app

ROOT = Path(TransferSegLib.__file__).parents[1]
TINY = ("--spacing", 6, "--threads", 1)
TORCH = ("--engine", "torch", "--threads", 1)


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """Each line of standard output as the event it must be."""
        assert self.out.isascii()
        events = [json.loads(line) for line in self.out.splitlines()]
        assert all("event" in event for event in events)
        return events

    @property
    def told(self) -> list[str]:
        """The lines on standard error, without progress bars."""
        return [line for line in self.err.splitlines() if not re.search(r"\d+/\d+ +[-\d]+:[-\d]+:[-\d]+", line)]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


def run(*arguments: object) -> Done:
    """The command in this process."""
    result = CliRunner().invoke(app, list(map(str, arguments)), prog_name="transferseg")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # a traceback for the user
    return Done(result.exit_code, result.stdout, result.stderr)


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "TransferSegLib", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        encoding="utf-8",
    )


def error(cause: str, remedy: str) -> list[str]:
    return [f"Error: {cause}", f"       {remedy}"]


@contextmanager
def private_folders(folder: Path) -> Iterator[Path]:
    """The user's models and caches are not touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSEG_HOME", str(folder / "home"))
        patch.setenv("TRANSFERSEG_CACHE", str(folder / "cache"))
        patch.setattr(engines, "_has_openvino", lambda: False)  # which takes seconds to prepare a model
        yield folder
