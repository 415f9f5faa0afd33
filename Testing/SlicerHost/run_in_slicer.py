"""Runs the same tests in a real Slicer that has pytest; without pytest it ends with 77, which ctest calls skipped.

Slicer --testing --no-splash --additional-module-paths TransferSeg --python-script Testing/SlicerHost/run_in_slicer.py \
    Testing/Slicer

A single file is named without its .py (Testing/Slicer/test_nodes): Slicer would run an argument that ends in .py.
"""

import sys
from pathlib import Path

NO_PYTEST = 77  # as in Testing/CMakeLists.txt


def run(arguments: list[str]) -> int:
    """The exit code of pytest."""
    try:
        import pytest
    except ImportError:
        print("These tests need pytest: PythonSlicer -m pip install pytest", file=sys.stderr)
        return NO_PYTEST
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    named = [f"{name}.py" if Path(f"{name}.py").is_file() else name for name in arguments]
    return int(pytest.main(["--capture=no", "-p", "no:xdist", "-o", "addopts=", *named]))


if __name__ == "__main__":
    import slicer

    slicer.util.exit(run(sys.argv[1:]))
