"""``python -m TransferSegLib`` and the ``transferseg`` command."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    _use_utf8()
    # File names can hold any letter, whatever the terminal's encoding.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from .allocator import keep_memory_for_good
    from .cli import app

    keep_memory_for_good()
    app(prog_name="transferseg")


def _use_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale has no letters but ASCII, as on some clusters.

    Else the names of files and cases that are not ASCII could be read, but not be written into tables and cards.
    """
    if sys.getfilesystemencoding().lower() != "utf-8" and not sys.flags.utf8_mode and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", __package__, *sys.argv[1:]])


if __name__ == "__main__":
    main()
