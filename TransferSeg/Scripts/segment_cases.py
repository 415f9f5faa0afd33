"""Segment many cases with Slicer, without its window.

Slicer --no-splash --no-main-window --python-script segment_cases.py my_cases --model glioma --out results

Takes what ``transferseg segment`` takes, and writes a label map for each case and ``volumes.csv``; with
``--segmentations`` also ``CASE.seg.nrrd``, which opens in Slicer with names, colors and terminology. A case that fails
is named and does not stop the others. Exit codes: 0 done, 1 some cases failed, 2 bad usage or input, 3 canceled,
4 out of memory or disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

import slicer

sys.path.append(str(Path(__file__).resolve().parents[1]))
from TransferSegBridge.batch import failed, main, parser, runCommand
from TransferSegBridge.nodes import Place, showLabels

import TransferSeg  # noqa: F401 - finds the library


def work() -> int:
    """Segment what the command line says; the exit code."""
    options = parser(str(__doc__).splitlines()[0])
    options.add_argument("cases", nargs="+", help="case folders, datasets, a manifest CSV, or t1=FILE,t1c=FILE,...")
    options.add_argument("--model", required=True, help="a name, a folder or a zip")
    options.add_argument("--out", required=True, type=Path, help="folder for the results")
    options.add_argument("--segmentations", action="store_true", help="write CASE.seg.nrrd too")
    given, more = options.parse_known_args()
    outcome = runCommand(["segment", *given.cases, "--model", given.model, "--out", str(given.out), *more], given.quiet)
    if given.segmentations and "written" in outcome.result:
        writeSegmentations(given.out, given.model)
    return failed(outcome)


def writeSegmentations(folder: Path, model: str) -> None:
    """Turn the label maps that ``volumes.csv`` lists into segmentations."""
    from TransferSegLib.files import atomic_path
    from TransferSegLib.model import load_model
    from TransferSegLib.tables import read_table
    from TransferSegLib.volume import read_volume

    scheme = load_model(model).scheme
    for _number, row in read_table(folder / "volumes.csv")[1]:
        name = row["case"]
        path = next(path for end in (".nii.gz", ".nrrd", ".mha") if (path := folder / f"{name}{end}").exists())
        volume = read_volume(path)
        node = showLabels(scheme.encode(volume.data, path), scheme, Place.ofGrid(volume.grid, name), None, name)
        with atomic_path(folder / f"{name}.seg.nrrd") as beside:
            # Slicer tells the format by the end of the name.
            slicer.util.saveNode(node, f"{beside}.seg.nrrd")
            Path(f"{beside}.seg.nrrd").rename(beside)
        slicer.mrmlScene.RemoveNode(node)


if __name__ == "__main__":
    main(work)
