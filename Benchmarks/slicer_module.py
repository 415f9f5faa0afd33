"""The Slicer module: nodes to files and back, and how long the user interface stands still while a child process works.

Runs in the stand-in host, or in a real Slicer: Slicer --no-splash --python-script slicer_module.py (with the folder as
additional module path). "stand-still" is the longest time between two turns of the event loop, from the moment that the
child has started until its result has been taken in; the rival for the conversion is what most extensions do: saving
each node by Slicer itself and importing a label map node.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(folder) for folder in (ROOT, ROOT / "Testing", ROOT / "Testing" / "Slicer", ROOT / "TransferSeg")]

SHAPE = (240, 240, 155)


def main() -> None:
    from SlicerHost.host import start_host

    slicer = start_host([ROOT / "TransferSeg" / "TransferSeg.py"])
    rows = [*conversion(slicer), *standstill(slicer)]
    print("\n|  | s |\n| --- | --- |")
    for name, seconds in rows:
        print(f"| {name} | {seconds:.3f} |")


def conversion(slicer: Any) -> list[tuple[str, float]]:
    """Four nodes to files, a label map back into a segmentation; ours and Slicer's own functions."""
    from scenes import addVolume
    from TransferSegBridge.nodes import readLabels, showLabels, writeVolume
    from TransferSegBridge.places import Place

    from TransferSegLib.grid import Grid
    from TransferSegLib.labels import GLIOMA
    from TransferSegLib.volume import Volume, write_volume

    random = np.random.default_rng(0)
    nodes = [addVolume(f"n{n}", random.integers(0, 1000, SHAPE).astype(np.int16), np.eye(4)) for n in range(4)]
    labels = np.zeros(SHAPE, np.uint8)
    labels[60:140, 60:140, 40:100] = 2
    labels[80:120, 80:120, 50:90] = 1
    place = Place.of(nodes[0])
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "labels.nii.gz"
        write_volume(Volume(GLIOMA.decode(labels), Grid(SHAPE, place.affine)), result)

        def ours() -> None:
            for number, node in enumerate(nodes):
                writeVolume(node, Path(folder) / f"{number}.nii")

        def back() -> None:
            showLabels(readLabels(result, place, GLIOMA), GLIOMA, place)

        def save_all() -> None:
            for number, node in enumerate(nodes):
                slicer.util.saveNode(node, f"{folder}/{number}.nrrd")

        def import_back() -> None:
            loaded = slicer.util.loadLabelVolume(str(result))
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
            slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(loaded, node)

        back()  # what is imported once is not counted
        rows = [
            ("ours: four nodes to files", timed(ours)),
            ("ours: labels back to a segmentation", timed(back)),
            ("saveNode: four nodes to files", timed(save_all)),
            ("loadLabelVolume and import: labels back", timed(import_back)),
        ]
    slicer.mrmlScene.Clear(0)
    return rows


def standstill(slicer: Any) -> list[tuple[str, float]]:
    """The longest time between two turns of the event loop, while segmenting and while training."""
    from scenes import CHANNELS, addPatient, addSegmentation, waitFor
    from SlicerHost.pace import watched
    from TransferSegBridge.annotated import AnnotatedCase
    from TransferSegBridge.curves import Curves
    from TransferSegBridge.finetuning import FinetuneJob, FinetuneRequest
    from TransferSegBridge.preview import Preview
    from TransferSegBridge.segmenting import SegmentJob, SegmentRequest

    from TransferSegLib.labels import LESION

    rows = []
    job = SegmentJob(SegmentRequest(addPatient("a"), "ms-lesion-fast"))
    job.start()
    with watched() as pace:
        waitFor(lambda: not job.running)
    rows.append(("stand-still while segmenting", pace.longest_s))
    cases = []
    for number in range(3):
        nodes = addPatient(f"p{number}", seed=number)
        label = addSegmentation(f"p{number} seg", nodes["flair"])
        images = {channel: node.GetID() for channel, node in nodes.items()}
        cases.append(AnnotatedCase(f"p{number}", images, label.GetID(), True, {"lesion": "lesion"}))
    curves, preview = Curves("benchmark"), Preview()
    preview.begin(cases)

    def show(event: dict[str, Any]) -> None:
        if event["event"] == "metric":
            curves.add(event["step"], event["values"])
        elif event["event"] == "preview":
            preview.show(event, LESION)

    request = FinetuneRequest(
        f"benchmark-{time.time_ns()}", "ms-lesion-fast", CHANNELS, "all", tuple(cases), LESION, epochs=8, spacing=4.0
    )
    training = FinetuneJob(request, show)
    training.start()
    waitFor(lambda: training.folder is not None and training.folder.manifest.exists())
    with watched() as pace:
        waitFor(lambda: not training.running)
    rows.append(("stand-still while training, with curves and preview", pace.longest_s))
    return rows


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    import os

    with tempfile.TemporaryDirectory() as home:
        os.environ["TRANSFERSEG_HOME"] = home
        main()
