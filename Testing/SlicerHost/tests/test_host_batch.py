"""Batch scripts end as in a Slicer without a main window, and the pace of the event loop is seen."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slicer
from SlicerHost import pace

TESTING = Path(__file__).parents[2]


def run(tmp_path, code, *arguments, options=("--no-main-window",)):
    script = tmp_path / "Dávka 1.py"
    script.write_text(code, "utf-8")
    command = [sys.executable, "-m", "SlicerHost", "--no-splash", *options, "--python-script", str(script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(TESTING), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("leave", ["import sys; sys.exit(3)", "import slicer; slicer.util.exit(3)"])
def test_a_script_gets_its_arguments_and_gives_its_exit_code(tmp_path, leave):
    code = f"import sys, slicer\nprint(sys.argv[1:], slicer.util.mainWindow(), __name__)\n{leave}\n"
    status, out, _ = run(tmp_path, code, "--out", "Kůra")
    assert status == 3
    assert "['--out', 'Kůra'] None __main__" in out


def test_a_script_that_would_leave_slicer_open_is_told(tmp_path):
    assert run(tmp_path, "pass")[0] == 70
    assert run(tmp_path, "raise RuntimeError('x')")[0] == 70
    assert run(tmp_path, "pass", options=("--no-main-window", "--testing"))[0] == 0


def test_a_question_in_a_batch_run_is_refused(tmp_path):
    status, _, err = run(tmp_path, "import slicer; slicer.util.confirmOkCancelDisplay('Sure?')")
    assert status == 70
    assert "A dialog waits for a person" in err


def test_one_that_waits_for_long_is_not_ended_by_python(tmp_path):
    code = "import slicer\nfor _ in range(30000): slicer.app.processEvents()\nslicer.util.exit(0)"
    assert run(tmp_path, code)[0] == 0


def test_what_is_no_batch_run(tmp_path):
    assert run(tmp_path, "", options=("--nonsense",))[0] == 2


def test_the_longest_stand_still_is_seen():
    with pace.watched() as seen:
        for _ in range(20):
            slicer.app.processEvents()
            time.sleep(0.002)
    free = seen.longest_s
    with pace.watched() as seen:
        slicer.app.processEvents()
        time.sleep(0.6)
        slicer.app.processEvents()
    assert seen.longest_s >= 0.6 > free
