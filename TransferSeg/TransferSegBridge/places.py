"""Place: where the voxels of a volume node lie in the world, and whether a node can be used as an image.

Affines are voxel to world, RAS, mm; voxels are counted as in an array (i, j, k).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from TransferSegLib.errors import InputError


def problemOf(volumeNode: Any) -> str:
    """Why a volume node cannot be used as an image, and what to do; empty when it can."""
    return " ".join(_problem(volumeNode))


@dataclass(frozen=True, eq=False)
class Place:
    """Where the voxels of a volume node lay when its image was given away: enough to put a result back.

    Attributes
    ----------
    shape : voxels along i, j, k.
    ijkToRas : (4, 4), voxel to the coordinates inside of the parent transform.
    worldFromLocal : (4, 4), the parent transforms together.
    volumeID, volumeName : of the node.
    transformID : of its parent transform, or empty.
    """

    shape: tuple[int, int, int]
    ijkToRas: np.ndarray
    worldFromLocal: np.ndarray
    volumeID: str
    volumeName: str
    transformID: str
    # Not the ID: after the scene was closed, the volume of another patient may have it.
    _node: Any = field(repr=False)

    @classmethod
    def of(cls, volumeNode: Any) -> Place:
        """The place of a volume node.

        Raises
        ------
        InputError : see :func:`problemOf`.
        """
        problem = _problem(volumeNode)
        if problem:
            raise InputError(*problem)
        transform = volumeNode.GetParentTransformNode()
        reference = vtk.vtkWeakReference()
        reference.Set(volumeNode)
        return cls(
            volumeNode.GetImageData().GetDimensions(),
            ijkToRasOf(volumeNode),
            worldFromLocalOf(volumeNode),
            volumeNode.GetID(),
            volumeNode.GetName(),
            transform.GetID() if transform is not None else "",
            reference,
        )

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), voxel to world."""
        return self.worldFromLocal @ self.ijkToRas

    @property
    def volumeNode(self) -> Any:
        """The volume node, if it is still there and its voxels can still be those; else None."""
        node = self._node.Get()
        if node is None or not slicer.mrmlScene.IsNodePresent(node) or _problem(node):
            return None
        return node if node.GetImageData().GetDimensions() == self.shape else None


def transformProblem(node: Any) -> tuple[str, ...]:
    """Cause and remedy when a node is under a non-linear transform; else nothing."""
    transform = node.GetParentTransformNode()
    if transform is None or transform.IsTransformToWorldLinear():
        return ()
    while transform.IsLinear():
        transform = transform.GetParentTransformNode()
    return (
        _("'{name}' is under the non-linear transform '{transform}'.").format(
            name=node.GetName(), transform=transform.GetName()
        ),
        _("Harden the transform of '{name}' in the Transforms module.").format(name=node.GetName()),
    )


def worldFromLocalOf(node: Any) -> np.ndarray:
    """(4, 4), the parent transforms of a node together: from the coordinates inside of them to the world."""
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def ijkToRasOf(volumeNode: Any) -> np.ndarray:
    """(4, 4), from the index in the array of a volume node to the coordinates inside of its parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    affine = slicer.util.arrayFromVTKMatrix(matrix)
    first = volumeNode.GetImageData().GetExtent()[::2]  # mostly 0, 0, 0
    affine[:, 3] = affine @ (*first, 1)
    return affine


def _problem(volumeNode: Any) -> tuple[str, ...]:
    """Cause and remedy, or nothing."""
    if volumeNode is None or volumeNode.GetScene() is None:
        return _("The image is not in the scene any more."), _("Choose another one.")
    name = volumeNode.GetName()
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        return _("'{name}' is a label map.").format(name=name), _("Choose the image that it was drawn on.")
    if not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
        return _("'{name}' is not an image.").format(name=name), _("Choose a scalar volume.")
    image = volumeNode.GetImageData()
    if image is None or min(image.GetDimensions()) < 1 or image.GetPointData().GetScalars() is None:
        return _("'{name}' has no voxels.").format(name=name), _("Load the image again.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        return (
            _("'{name}' has {count} values in each voxel.").format(name=name, count=components),
            _("Convert it with the module Vector to Scalar Volume."),
        )
    problem = transformProblem(volumeNode)
    if not problem and abs(np.linalg.det((worldFromLocalOf(volumeNode) @ ijkToRasOf(volumeNode))[:3, :3])) < 1e-9:
        return _("'{name}' has no extent in some direction.").format(name=name), _("Check its spacing and transforms.")
    return problem
