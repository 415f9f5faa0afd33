"""Runs the same tests in a real Slicer that has pytest:

Slicer --testing --no-splash --additional-module-paths TransferSeg --python-script Testing/SlicerHost/run_in_slicer.py \
    Testing/Slicer
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    import pytest
    import slicer

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    slicer.util.exit(int(pytest.main(["--capture=no", "-p", "no:xdist", "-o", "addopts=", *sys.argv[1:]])))
