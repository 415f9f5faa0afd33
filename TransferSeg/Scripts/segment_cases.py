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

# In the source tree the library stands beside the module's folder, once installed in it.
MODULE = Path(__file__).resolve().parents[1]
sys.path += [str(MODULE), str(MODULE.parent)]

from TransferSegBridge.batch import failed, main, parser, runCommand  # noqa: E402
from TransferSegBridge.nodes import readLabels, showLabels  # noqa: E402
from TransferSegBridge.places import Place  # noqa: E402

from TransferSegLib.errors import ResourceError  # noqa: E402


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
        # Slicer takes a relative path as one from the folder of its scene.
        writeSegmentations(given.out.absolute(), given.model)
    return failed(outcome)


def writeSegmentations(folder: Path, model: str) -> None:
    """Turn the label maps that ``volumes.csv`` lists into segmentations."""
    from TransferSegLib.model import load_model
    from TransferSegLib.tables import read_table

    scheme = load_model(model).scheme
    for _number, row in read_table(folder / "volumes.csv")[1]:
        name = row["case"]
        path = next(path for end in (".nii.gz", ".nrrd", ".mha") if (path := folder / f"{name}{end}").exists())
        volume = slicer.util.loadVolume(str(path), {"name": name, "show": False})
        place = Place.of(volume)
        segmentation = showLabels(readLabels(path, place, scheme), scheme, place, None, name)
        written = folder / f"{name}.seg.nrrd"
        if not slicer.util.saveNode(segmentation, str(written)):
            raise ResourceError(f"{written} could not be written.", "Check that the disk is not full.")
        for node in (segmentation, volume):
            slicer.mrmlScene.RemoveNode(node)


if __name__ == "__main__":
    main(work)
