"""``python -m TransferSegLib`` and the ``transferseg`` command."""

from __future__ import annotations

import io
import sys


def main() -> None:
    # File names can hold any letter, whatever the terminal's encoding.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from .cli import app

    app(prog_name="transferseg")


if __name__ == "__main__":
    main()
