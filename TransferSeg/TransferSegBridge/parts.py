"""Parts: the voxels of segments and label maps as arrays, on the grids that they were drawn on.

Slicer's arrays are (k, j, i), ours (i, j, k): what differs is seen here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from scipy import ndimage
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from TransferSegLib.errors import InputError

from .places import Place, ijkToRasOf, worldFromLocalOf
from .segments import BINARY_LABELMAP

GEOMETRY = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()


@dataclass(frozen=True, eq=False)
class Part:
    """Voxels that get one label.

    Attributes
    ----------
    matrix : 16 numbers, voxel to the coordinates inside of the parent transform.
    start : (3,), the voxel at which ``mask`` begins.
    mask : (i, j, k) bool, cropped to what is not empty.
    label : what the voxels of the mask get.
    """

    matrix: tuple[float, ...]
    start: np.ndarray
    mask: np.ndarray
    label: int


def voxelsOf(image: Any) -> np.ndarray:
    """A view of the voxels (i, j, k) of image data."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions(), order="F")


def labelMapParts(node: Any, classes: Mapping[str, int]) -> Iterator[Part]:
    """The parts of a label map node, by value; values that do not occur are left out."""
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return
    values = voxelsOf(image)
    for value, label in classes.items():
        yield from _cropped(ijkToRasOf(node), (0, 0, 0), values == int(value), label)


def segmentParts(node: Any, classes: Mapping[str, int], place: Place) -> Iterator[Part]:
    """The parts of a segmentation node, by segment ID; empty segments are left out.

    Parameters
    ----------
    place : segments that are made of surfaces get voxels like those of this image.

    Raises
    ------
    InputError : there is no such segment, or it cannot be converted.
    """
    for segmentID, label in classes.items():
        segment = node.GetSegmentation().GetSegment(segmentID)
        if segment is None:
            raise InputError(
                _("'{name}' has no segment '{segment}'.").format(name=node.GetName(), segment=segmentID),
                _("Say again which segment is which class."),
            )
        if segment.GetRepresentation(BINARY_LABELMAP) is None:
            segment = _rasterized(node, segmentID, place)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        if min(image.GetDimensions()) > 0 and image.GetPointData().GetScalars() is not None:
            matrix = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(matrix)  # its world is the inside of the parent transform
            mask = voxelsOf(image) == segment.GetLabelValue()
            yield from _cropped(slicer.util.arrayFromVTKMatrix(matrix), image.GetExtent()[::2], mask, label)


def merged(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Labels (i, j, k) of parts with the same matrix, and the voxel (3,) at which they begin; the later part wins."""
    start = np.min([part.start for part in parts], 0)
    end = np.max([part.start + part.mask.shape for part in parts], 0)
    labels = np.zeros(tuple(end - start), np.uint8)
    for part in parts:
        first = part.start - start
        labels[tuple(map(slice, first, first + part.mask.shape))][part.mask] = part.label
    return labels, start


def labelImage(labels: np.ndarray, local: np.ndarray) -> Any:
    """Labels (i, j, k) as image data for segments, of no more than the box that is not empty.

    Parameters
    ----------
    local : (4, 4), voxel to the coordinates inside of the parent transform. The extent of the image data says where in
        the grid the box is.
    """
    boxes = ndimage.find_objects((labels > 0).view(np.uint8)) or [(slice(0, 0),) * 3]
    image = slicer.vtkOrientedImageData()
    image.SetExtent([end for axis in boxes[0] for end in (axis.start, axis.stop - 1)])
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(local))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    voxelsOf(image)[...] = labels[boxes[0]]
    return image


def setGeometry(segmentation: Any, local: np.ndarray, shape: Sequence[int]) -> None:
    """Set the grid that a segmentation makes voxels on: ``shape`` voxels, ``local`` as in :func:`labelImage`."""
    matrix = slicer.util.vtkMatrixFromArray(local)
    extent = [end for side in shape for end in (0, side - 1)]
    geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(matrix, extent)
    segmentation.SetConversionParameter(GEOMETRY, geometry)


def _cropped(affine: np.ndarray, first: Sequence[int], mask: np.ndarray, label: int) -> Iterator[Part]:
    """One part, or none when ``mask``, which begins at the voxel ``first``, is empty."""
    for box in ndimage.find_objects(mask.view(np.uint8)):
        start = np.array(first) + [axis.start for axis in box]
        # Segments of one grid differ by rounding errors at most.
        yield Part(tuple(np.round(affine, 9).ravel().tolist()), start, mask[box], label)


def _rasterized(node: Any, segmentID: str, place: Place) -> Any:
    """A copy of a segment that is made of surfaces, with voxels: the user's own segmentation stays as it is."""
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(node.GetSegmentation().GetSourceRepresentationName())
    copy.CopySegmentFromSegmentation(node.GetSegmentation(), segmentID)
    setGeometry(copy, np.linalg.inv(worldFromLocalOf(node)) @ place.affine, place.shape)
    copy.CreateRepresentation(BINARY_LABELMAP)
    segment = copy.GetSegment(segmentID)
    if segment.GetRepresentation(BINARY_LABELMAP) is None:
        raise InputError(
            _("The segment '{segment}' of '{name}' cannot be converted to a label map.").format(
                segment=segment.GetName(), name=node.GetName()
            ),
            _("Create its binary label map in the Segmentations module."),
        )
    return segment
