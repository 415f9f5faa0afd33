"""Volume and segmentation nodes to files and arrays, and back, through the world.

Arrays are (i, j, k), affines are voxel to world, RAS, mm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from TransferSegLib.errors import InputError
from TransferSegLib.labels import LabelScheme

from .parts import GEOMETRY, labelImage, labelMapParts, merged, segmentParts, setGeometry, voxelsOf
from .places import Place, ijkToRasOf, problemOf, transformProblem, worldFromLocalOf
from .segments import BINARY_LABELMAP, CLOSED_SURFACE, isAllOurs, putSegment

__all__ = ["Place", "labelMap", "problemOf", "readLabels", "showLabels", "writeLabelMap", "writeVolume"]


def writeVolume(volumeNode: Any, path: str | Path) -> None:
    """Write the image of a volume node where it lies in the world, parent transforms included.

    Raises
    ------
    InputError : the node cannot be used (:func:`problemOf`), is constant, or holds NaN or infinite values.
    InputError, ResourceError : see :func:`TransferSegLib.volume.write_volume`.
    """
    place = Place.of(volumeNode)
    values = voxelsOf(volumeNode.GetImageData())
    least, most = values.min(), values.max()  # NaN if there is one
    if not (np.isfinite(least) and np.isfinite(most)):
        raise InputError(
            _("'{name}' has voxels that are NaN or infinite.").format(name=place.volumeName),
            _(
                "Set them to 0, in the Python console: a = arrayFromVolume(getNode('{id}')); a[~numpy.isfinite(a)] = 0"
            ).format(id=place.volumeID),
        )
    if least == most:
        raise InputError(
            _("'{name}' is constant: every voxel is {value}.").format(name=place.volumeName, value=f"{least:g}"),
            _("Choose the real image."),
        )
    _write(values, place, path)


def labelMap(node: Any, referenceVolumeNode: Any, classes: Mapping[str, int]) -> np.ndarray:
    """The labels of a segmentation or label map on the grid of an image.

    Parameters
    ----------
    node : a segmentation node or a label map node, on any grid and under any linear transforms.
    classes : segment ID (of a label map: the value as text) to the label it gets, 1 to 255. Where segments overlap,
        the later one wins.

    Returns
    -------
    (i, j, k) uint8.

    Raises
    ------
    InputError : the image cannot be used, the node is under a non-linear transform or has no such segment, the
        segments have no voxels, or all of them lie outside of the image or are too small for its voxels.
    """
    from TransferSegLib.grid import Grid
    from TransferSegLib.resample import resample_labels

    place = Place.of(referenceVolumeNode)
    problem = transformProblem(node)
    if problem:
        raise InputError(*problem)
    segments = node.IsA("vtkMRMLSegmentationNode")
    parts = list(segmentParts(node, classes, place) if segments else labelMapParts(node, classes))
    if not parts:
        raise InputError(
            _("'{name}' has no voxels of the classes that are asked for.").format(name=node.GetName()),
            _("Draw them, say again what its segments mean, or leave the case out."),
        )
    target = Grid(place.shape, place.affine)
    result, inside = np.zeros(place.shape, np.uint8), False
    for matrix, group in groupby(parts, lambda part: part.matrix):
        labels, start = merged(list(group))
        source = Grid(labels.shape, worldFromLocalOf(node) @ np.reshape(matrix, (4, 4)))
        # So much around it that filtering and interpolating see the background.
        margin = math.ceil(max(target.spacing) / min(source.spacing)) + 1
        labels = np.pad(labels, margin)
        source = source.window(tuple(start - margin), labels.shape)
        found = resample_labels(labels, source, target, int(labels.max()) + 1)
        result[found > 0] = found[found > 0]
        middle = target.index(source.world(np.argwhere(labels).mean(0)))
        inside |= bool(((middle > -0.5) & (middle < np.array(target.shape) - 0.5)).all())
    if result.any():
        return result
    if inside:
        raise InputError(
            _("'{name}' is smaller than half a voxel of the image '{image}'.").format(
                name=node.GetName(), image=place.volumeName
            ),
            _("Leave the case out, or use an image with smaller voxels."),
        )
    raise InputError(
        _("'{name}' lies outside of the image '{image}'.").format(name=node.GetName(), image=place.volumeName),
        _("Check that they belong together, and their transforms."),
    )


def writeLabelMap(node: Any, referenceVolumeNode: Any, classes: Mapping[str, int], path: str | Path) -> None:
    """Write what :func:`labelMap` gives, with the affine of the image in the world."""
    _write(labelMap(node, referenceVolumeNode, classes), Place.of(referenceVolumeNode), path)


def readLabels(path: str | Path, place: Place, scheme: LabelScheme | None = None) -> np.ndarray:
    """A label map (i, j, k) that was made for the image at ``place``.

    Parameters
    ----------
    scheme : turns the codes of the file into internal labels; None: they stay as they are.

    Raises
    ------
    InputError : the file cannot be read, does not lie on the image, or has a value that ``scheme`` does not know.
    """
    from TransferSegLib.grid import Grid
    from TransferSegLib.volume import read_volume

    volume = read_volume(path)
    if not volume.grid.matches(Grid(place.shape, place.affine)):
        raise InputError(
            _("{path} is not on the grid of the image '{image}'.").format(path=path, image=place.volumeName),
            _("Choose the label map that was made for this image."),
        )
    return volume.data if scheme is None else scheme.encode(volume.data, path)


def showLabels(
    labels: np.ndarray, scheme: LabelScheme, place: Place, segmentationNode: Any = None, name: str = "Segmentation"
) -> Any:
    """Show labels as segments, one for each class of ``scheme``, also for those without voxels.

    Parameters
    ----------
    labels : (i, j, k) internal labels.
    place : of the image they belong to. If the image was moved since then, they follow it; if it is gone, they lie
        where it was in the world.
    segmentationNode : receives the segments; those that TransferSeg made before are replaced class by class (and keep
        their name, color and place in the list), all others are left alone. None, or a node that is gone: a new one,
        under the transform of the image, beside it in the subject hierarchy.
    name : of a new node.

    Returns
    -------
    The segmentation node.

    Raises
    ------
    InputError : ``labels`` have another shape than the image, or ``segmentationNode`` cannot hold them.
    """
    if labels.shape != place.shape:
        raise InputError(f"Labels of the shape {labels.shape} are not on an image of {place.shape}.", "")
    volumeNode = place.volumeNode
    affine = place.affine if volumeNode is None else worldFromLocalOf(volumeNode) @ ijkToRasOf(volumeNode)
    if segmentationNode is not None and slicer.mrmlScene.IsNodePresent(segmentationNode):
        _requireRoom(segmentationNode)
        _saveStateForUndo(segmentationNode)
    else:
        slicer.mrmlScene.SaveStateForUndo()
        segmentationNode = _newSegmentation(volumeNode, name)
    if volumeNode is not None and segmentationNode.GetParentTransformNode() is volumeNode.GetParentTransformNode():
        local = ijkToRasOf(volumeNode)  # without the rounding errors of going to the world and back
    else:
        local = np.linalg.inv(worldFromLocalOf(segmentationNode)) @ affine
    with slicer.util.NodeModify(segmentationNode):
        _fill(segmentationNode, labels, scheme, local)
        _setReferenceGeometry(segmentationNode, volumeNode, labels.shape, local)
    return segmentationNode


def _write(values: np.ndarray, place: Place, path: str | Path) -> None:
    from TransferSegLib.grid import Grid
    from TransferSegLib.volume import Volume, write_volume

    write_volume(Volume(values, Grid(place.shape, place.affine)), path)


def _requireRoom(segmentationNode: Any) -> None:
    problem = transformProblem(segmentationNode)
    segmentation = segmentationNode.GetSegmentation()
    if not problem and segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
        if segmentation.GetNumberOfSegments():
            problem = (
                _("'{name}' is made of surfaces.").format(name=segmentationNode.GetName()),
                _("Choose another output segmentation, or a new one."),
            )
        else:
            segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    if problem:
        raise InputError(*problem)


def _saveStateForUndo(segmentationNode: Any) -> None:
    """For the Undo of the scene, and for the one that people know: that of the Segment Editor."""
    slicer.mrmlScene.SaveStateForUndo()
    editor = getattr(getattr(slicer.modules, "SegmentEditorWidget", None), "editor", None)
    if editor is not None and editor.segmentationNodeID() == segmentationNode.GetID():
        editor.saveStateForUndo()


def _newSegmentation(volumeNode: Any, name: str) -> Any:
    """An empty segmentation node, under the transform of the volume and beside it in the subject hierarchy."""
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    if volumeNode is not None:
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        hierarchy = scene.GetSubjectHierarchyNode()
        beside = hierarchy.GetItemByDataNode(volumeNode)
        if beside:
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), hierarchy.GetItemParent(beside))
    return node


def _fill(segmentationNode: Any, labels: np.ndarray, scheme: LabelScheme, local: np.ndarray) -> None:
    segmentation = segmentationNode.GetSegmentation()
    surfaces = segmentation.ContainsRepresentation(CLOSED_SURFACE)
    image = labelImage(labels, local)  # one for all classes: they do not overlap
    for label, labelClass in enumerate(scheme.classes):
        if label:
            putSegment(segmentationNode, labelClass, image, label)
    if surfaces:  # Those that are shown in 3D; the surfaces of other segments stay.
        segmentation.CreateRepresentation(CLOSED_SURFACE)


def _setReferenceGeometry(segmentationNode: Any, volumeNode: Any, shape: tuple[int, ...], local: np.ndarray) -> None:
    """Make the image the grid to draw on, unless somebody drew on another one."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetConversionParameter(GEOMETRY) and not isAllOurs(segmentationNode):
        return
    if volumeNode is not None:
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    else:
        setGeometry(segmentation, local, shape)
