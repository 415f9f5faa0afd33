"""A folder is written by one command at a time; whoever is killed lets go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from brains import write_dataset
from command import ROOT, error, private_folders, run
from studies import DESIGN, conduct

from TransferSegLib.errors import InputError
from TransferSegLib.lock import hold, is_held

HOLD = """
import sys, time
from TransferSegLib.lock import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(99)
"""


def test_only_one_holds_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert not is_held(folder)
    with hold(folder):
        assert is_held(folder)
        with pytest.raises(InputError, match=f"Another process is at work in {folder}."), hold(folder):
            pass
        (folder / "result").touch()
    assert not is_held(folder)
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_nothing_is_left_when_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold(tmp_path / "out"):
        raise KeyError
    assert not (tmp_path / "out").exists()


def test_a_process_that_is_killed_lets_go(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "out"], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_held(tmp_path / "out")
    finally:
        process.kill()
        process.communicate()
    assert not is_held(tmp_path / "out")
    with hold(tmp_path / "out"):
        pass


def test_commands_keep_off_a_folder_that_is_written(tmp_path: Path) -> None:
    told = f"Another process is at work in {tmp_path / 'out'}."
    remedy = "Wait until it has ended, or choose another --out."
    with private_folders(tmp_path), hold(tmp_path / "out"):
        done = run("pretrain", write_dataset(tmp_path / "few", 3), "--out", tmp_path / "out")
        assert (done.code, done.told) == (2, error(told, remedy))
        with pytest.raises(InputError, match=told):
            conduct(tmp_path, tmp_path / "out", DESIGN)
