"""Small patients as nodes of the scene, for tests: a ball of brain with a ball of lesion in it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import slicer

CHANNELS = ("t1", "t1c", "t2", "flair")
SIDE, SPACING = 36, 4.0

# Brightness of brain and lesion in each channel.
_LOOKS = {"t1": (600, 420), "t1c": (620, 450), "t2": (400, 800), "flair": (500, 950)}


def affine(spacing: float = SPACING, side: int = SIDE) -> np.ndarray:
    """Voxel to world, RAS; the middle of the grid is the origin."""
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = -(side - 1) * spacing / 2
    return matrix


def distances(centre: Any, spacing: float = SPACING, side: int = SIDE) -> np.ndarray:
    """Distance in mm of each voxel (i, j, k) from a point in the world."""
    index = np.moveaxis(np.indices((side, side, side)), 0, -1)
    places = index * spacing - (side - 1) * spacing / 2
    return np.linalg.norm(places - np.asarray(centre, float), axis=-1)


def addVolume(name: str, values: np.ndarray, matrix: np.ndarray) -> Any:
    """A volume node of values (i, j, k)."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(values.T))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return node


def addPatient(name: str, lesion: Any = (20, 10, 5), radius: float = 16, seed: int = 0) -> dict[str, Any]:
    """Four volumes of a patient, channel to node."""
    random = np.random.default_rng(seed)
    brain, sick = distances((0, 0, 0)) < 60, distances(lesion) < radius
    nodes = {}
    for channel, (healthy, ill) in _LOOKS.items():
        values = np.where(sick, ill, healthy) + random.normal(0, 15, brain.shape)
        values = np.where(brain, values, 0).astype(np.int16)
        nodes[channel] = addVolume(f"{name}_{channel}", values, affine())
    return nodes


def addSegmentation(
    name: str, volume: Any, lesion: Any = (20, 10, 5), radius: float = 16, segment: str = "lesion"
) -> Any:
    """A segmentation with one segment, drawn on a volume."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentID = node.GetSegmentation().AddEmptySegment(segment, segment)
    mask = (distances(lesion) < radius).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.ascontiguousarray(mask.T), node, segmentID, volume)
    return node


def addTransform(matrix: np.ndarray, *nodes: Any) -> Any:
    """A linear transform node above some nodes."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def segmentVoxels(segmentation: Any, segmentID: str, volume: Any) -> np.ndarray:
    """Mask (i, j, k) of a segment on the grid of a volume."""
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentID, volume).T > 0


def waitFor(condition: Any, seconds: float = 120.0) -> None:
    """Let the application run until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        slicer.app.processEvents()
        time.sleep(0.005)


def undoable() -> None:
    """Let the scene keep states to go back to."""
    slicer.mrmlScene.SetUndoOn()


def openModule():
    """The module's panel, as after a click on the module."""
    if slicer.util.mainWindow() is None:
        slicer.modules.transferseg.widgetRepresentation().enter()
    else:
        slicer.util.selectModule("TransferSeg")
    shown = slicer.modules.TransferSegWidget
    shown.refreshModels()
    return shown
