"""Tests of the Slicer module. They run in a real Slicer too; without one, in the stand-in (Testing/SlicerHost)."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A real Slicer knows neither of these folders.
sys.path[:0] = [
    folder
    for folder in map(str, (ROOT, ROOT / "Testing", ROOT / "Testing" / "Python", ROOT / "TransferSeg"))
    if folder not in sys.path
]

from SlicerHost.host import start_host  # noqa: E402
from SlicerHost.plugin import clean_host, pytest_runtest_call  # noqa: E402, F401

MODULE = ROOT / "TransferSeg" / "TransferSeg.py"
start_host([MODULE] if MODULE.exists() else [])
