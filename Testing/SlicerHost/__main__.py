"""`python -m SlicerHost --no-main-window --python-script FILE ARGUMENTS`: a batch script as a Slicer runs it.

Ends with the code of sys.exit() or slicer.util.exit(). Where a real Slicer would stay open for ever, because the script
ended without either or a dialog waits for a person, it ends with 70.
"""

from __future__ import annotations

import runpy
import sys
import traceback

from .host import start_host

NEVER_ENDS = 70
_OPTIONS = ("--no-splash", "--no-main-window", "--testing")


def main(arguments: list[str]) -> int:
    """Run the script of a command line; the exit code."""
    if "--python-script" not in arguments[:-1]:
        print("usage: python -m SlicerHost [OPTIONS] --python-script FILE [ARGUMENTS]", file=sys.stderr)
        return 2
    at = arguments.index("--python-script")
    options, script, rest = arguments[:at], arguments[at + 1], arguments[at + 2 :]
    unknown = [option for option in options if option not in _OPTIONS]
    if unknown:
        print(f"This stand-in knows no {' '.join(unknown)}", file=sys.stderr)
        return 2
    testing = "--testing" in options
    slicer = start_host(main_window="--no-main-window" not in options, testing=testing)
    from PySide6 import QtCore

    def run() -> None:
        sys.argv = [script, *rest]
        end = 0 if testing else NEVER_ENDS
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as given:
            slicer.app.exit(given.code if isinstance(given.code, int) else int(given.code is not None))
            return
        except BaseException:
            traceback.print_exc()
            end = 1 if testing else NEVER_ENDS
        QtCore.QTimer.singleShot(200, lambda: slicer.app.exit(end))

    QtCore.QTimer.singleShot(0, run)
    return int(slicer.app.exec())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
