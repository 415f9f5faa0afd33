"""Images and labels between nodes and files: where a sphere, known in closed form, lies in the world."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from TransferSegBridge.nodes import (
    Place,
    labelMap,
    problemOf,
    readLabels,
    showLabels,
    writeLabelMap,
    writeVolume,
)
from TransferSegBridge.segments import ourSegmentID

from TransferSegLib.errors import InputError
from TransferSegLib.labels import GLIOMA, LESION

CENTER, RADIUS = np.array([21.0, -13.5, 34.0]), 11.0
SPHERE_ML = 4 / 3 * np.pi * RADIUS**3 / 1000
SHAPE = (48, 44, 30)


def turned(x, y, z):
    """A rotation by degrees around the axes, (4, 4)."""
    result = np.eye(4)
    for axis, degrees in enumerate((x, y, z)):
        a, b = (other for other in range(3) if other != axis)
        turn, angle = np.eye(4), np.deg2rad(degrees)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        result = result @ turn
    return result


def moved(x, y, z):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


STRAIGHT = np.diag([1.0, 1.0, 1.4, 1])
LPS = np.diag([-0.9, -1.0, 1.3, 1])
LEFT_HANDED = np.diag([1.0, -1.0, 1.5, 1])
SAGITTAL = np.array([[0, 0, 1.6, 0], [1.0, 0, 0, 0], [0, -1.1, 0, 0], [0, 0, 0, 1]])
OBLIQUE = turned(20, -35, 50) @ np.diag([0.9, 0.9, 2.0, 1])
RIGID = moved(30, -5, 12) @ turned(-15, 40, 25)
SHEARED = moved(-9, 4, 7) @ np.array([[1.2, 0.3, 0, 0], [0, 0.9, -0.2, 0], [0.1, 0, 1.1, 0], [0, 0, 0, 1]])

# Name: voxel axes, and the parent transforms from the outermost to the one above the node.
PLACES = {
    "straight": (STRAIGHT, []),
    "LPS": (LPS, []),
    "left-handed": (LEFT_HANDED, []),
    "sagittal": (SAGITTAL, []),
    "oblique with thick slices": (OBLIQUE, []),
    "under a rotation": (LPS, [RIGID]),
    "under a mirror": (STRAIGHT, [np.diag([-1.0, 1, 1, 1])]),
    "under scaling and shear": (STRAIGHT, [SHEARED]),
    "under two transforms": (SAGITTAL, [SHEARED, RIGID]),
    "oblique under two transforms": (OBLIQUE, [RIGID, SHEARED]),
}
everywhere = pytest.mark.parametrize("where", PLACES)


def local_affine(axes, parents, shape=SHAPE):
    """Of a grid whose middle lies a little beside the sphere's center in the world."""
    middle = np.linalg.inv(world_of(parents)) @ [*np.add(CENTER, (2.3, -1.1, 1.7)), 1]
    affine = axes.copy()
    affine[:3, 3] = middle[:3] - axes[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def world_of(parents):
    return np.linalg.multi_dot([np.eye(4), np.eye(4), *parents])


def put_under(node, parents):
    above = None
    for matrix in parents:
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        transform.SetAndObserveTransformNodeID(above and above.GetID())
        above = transform
    node.SetAndObserveTransformNodeID(above and above.GetID())


def volume_node(values, affine, parents=(), name="FLAIR", kind="vtkMRMLScalarVolumeNode"):
    """A node of (i, j, k) values; ``affine`` from voxels to the innermost parent transform."""
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(values.T))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    put_under(node, parents)
    return node


def distance(affine, shape=SHAPE, center=CENTER):
    """Of each voxel from the center of the sphere in the world, mm."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3] - center, axis=-1)


def sphere_node(where, **options):
    """A volume node with the sphere, soft at its border, and its closed-form affine."""
    axes, parents = PLACES[where]
    local = local_affine(axes, parents)
    affine = world_of(parents) @ local
    values = 100 * np.clip(RADIUS - distance(affine) + 0.5, 0, 1)
    return volume_node(values.astype(np.float32), local, parents, **options), affine


def center_of(weights, affine):
    index = np.argwhere(weights > 0)
    mean = np.average(index, axis=0, weights=weights[weights > 0])
    return affine[:3, :3] @ mean + affine[:3, 3]


def millilitres(mask, affine):
    return mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000


def assert_is_the_sphere(mask, affine, center=CENTER):
    half = np.linalg.norm(affine[:3, :3], axis=0).min() / 2
    assert np.linalg.norm(center_of(mask.astype(float), affine) - center) < 0.8 * half
    assert millilitres(mask, affine) == pytest.approx(SPHERE_ML, rel=0.04)


def segmentation_node(name="Segmentation", parents=()):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    put_under(node, parents)
    return node


def add_segment(node, mask, affine, name="Lesion", start=(0, 0, 0)):
    """A segment of ``mask`` (i, j, k), which begins at the voxel ``start``; its ID."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent([end for first, side in zip(start, mask.shape, strict=True) for end in (first, first + side - 1)])
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel(order="F")
    return node.AddSegmentFromBinaryLabelmapRepresentation(image, name)


def slicers_mask(node, segment_id, volume):
    """The voxels (i, j, k) of a segment on the grid of a volume, as Slicer's own export sees them."""
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    logic = slicer.modules.segmentations.logic()
    assert logic.ExportSegmentsToLabelmapNode(node, [segment_id], labels, volume)
    mask = slicer.util.arrayFromVolume(labels).T > 0
    slicer.mrmlScene.RemoveNode(labels)
    return mask.copy()


def segment_in_world(node, segment_id):
    """Mask and affine of a segment from what it holds itself."""
    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(segment_id, image)
    matrix, to_world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, to_world)
    affine = slicer.util.arrayFromVTKMatrix(to_world) @ slicer.util.arrayFromVTKMatrix(matrix)
    affine = affine @ moved(*image.GetExtent()[::2])
    voxels = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return voxels.reshape(image.GetDimensions(), order="F") > 0, affine


def tumour(affine, shape=SHAPE):
    """Internal labels of a glioma: a necrotic core in an enhancing shell in an edema that is the sphere."""
    far = distance(affine, shape)
    return np.select([far < 0.4 * RADIUS, far < 0.7 * RADIUS, far < RADIUS], [1, 3, 2], 0).astype(np.uint8)


# Images to files


@everywhere
def test_an_image_is_written_where_it_lies_in_the_world(tmp_path, where):
    from TransferSegLib.volume import read_volume

    node, affine = sphere_node(where)
    writeVolume(node, tmp_path / "Kůra ž.nii")
    read = read_volume(tmp_path / "Kůra ž.nii")
    assert np.abs(read.grid.affine - affine).max() < 1e-3
    assert np.linalg.norm(center_of(read.data, read.grid.affine) - CENTER) < 0.1
    assert millilitres(read.data / 100, read.grid.affine) == pytest.approx(SPHERE_ML, rel=0.01)
    # The closed form itself agrees with Slicer.
    corner = np.zeros(3)
    local = local_affine(*PLACES[where])
    node.TransformPointToWorld(local[:3, 3], corner)
    assert np.allclose(corner, affine[:3, 3])


def test_axes_are_not_mixed_up_and_values_are_kept(tmp_path):
    from TransferSegLib.volume import read_volume

    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    writeVolume(volume_node(values, np.eye(4)), tmp_path / "a.nii")
    assert np.array_equal(read_volume(tmp_path / "a.nii").data, values)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_every_type_of_voxel_can_be_written(tmp_path, kind):
    from TransferSegLib.volume import read_volume

    values = np.array([[[0, 7], [100, 3]]]).astype(kind)
    writeVolume(volume_node(values, np.eye(4)), tmp_path / "a.nii")
    read = read_volume(tmp_path / "a.nii").data
    assert np.array_equal(read, values)
    assert read.dtype == ("float32" if kind == "float64" else kind)


def test_an_image_of_one_slice_is_written(tmp_path):
    from TransferSegLib.volume import read_volume

    writeVolume(volume_node(np.arange(12.0).reshape(4, 3, 1), OBLIQUE), tmp_path / "a.nii")
    read = read_volume(tmp_path / "a.nii")
    assert read.data.shape == (4, 3, 1)
    assert np.allclose(read.grid.affine, OBLIQUE)


def test_an_image_whose_voxels_do_not_begin_at_zero_is_written_where_slicer_shows_it(tmp_path):
    from TransferSegLib.volume import read_volume

    node = volume_node(np.arange(24.0).reshape(2, 3, 4), OBLIQUE)
    node.GetImageData().SetExtent(5, 6, -2, 0, 1, 4)
    writeVolume(node, tmp_path / "a.nii")
    assert np.allclose(read_volume(tmp_path / "a.nii").grid.affine, OBLIQUE @ moved(5, -2, 1), atol=1e-4)


def test_an_image_that_can_be_used_has_no_problem():
    assert problemOf(sphere_node("oblique under two transforms")[0]) == ""


def vector_volume():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "RGB")
    slicer.util.updateVolumeFromArray(node, np.zeros((4, 5, 6, 3), np.uint8))
    return node


def two_component_volume():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "field")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 5, 6)
    image.AllocateScalars(vtk.VTK_FLOAT, 2)
    node.SetAndObserveImageData(image)
    return node


def flat_volume():
    return volume_node(np.arange(8.0).reshape(2, 2, 2), np.eye(4), [np.diag([1.0, 1, 0, 1])], "flat")


def warped_volume(kind):
    transform = slicer.mrmlScene.AddNewNodeByClass(kind, "warp")
    if kind == "vtkMRMLBSplineTransformNode":
        warp = vtk.vtkBSplineTransform()
        coefficients = vtk.vtkImageData()
        coefficients.SetDimensions(4, 4, 4)
        coefficients.AllocateScalars(vtk.VTK_DOUBLE, 3)
        coefficients.GetPointData().GetScalars().Fill(1)
        warp.SetCoefficientData(coefficients)
    else:
        warp = slicer.vtkOrientedGridTransform()
        field = vtk.vtkImageData()
        field.SetDimensions(3, 3, 3)
        field.AllocateScalars(vtk.VTK_DOUBLE, 3)
        field.GetPointData().GetScalars().Fill(2)
        warp.SetDisplacementGridData(field)
    transform.SetAndObserveTransformFromParent(warp)
    node = volume_node(np.arange(8.0).reshape(2, 2, 2), np.eye(4), [RIGID], "bent")
    node.GetParentTransformNode().SetAndObserveTransformNodeID(transform.GetID())
    return node


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: None, ["not in the scene"]),
        (lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"), ["'empty'", "no voxels"]),
        (vector_volume, ["'RGB'", "3 values", "Vector to Scalar Volume"]),
        (two_component_volume, ["'field'", "2 values"]),
        (
            lambda: volume_node(np.ones((2, 2, 2), np.uint8), np.eye(4), (), "seg", "vtkMRMLLabelMapVolumeNode"),
            ["'seg'", "label map"],
        ),
        (segmentation_node, ["'Segmentation'", "not an image"]),
        (flat_volume, ["'flat'", "extent"]),
        (lambda: warped_volume("vtkMRMLBSplineTransformNode"), ["'bent'", "'warp'", "Harden", "Transforms module"]),
        (lambda: warped_volume("vtkMRMLGridTransformNode"), ["'bent'", "'warp'", "Harden", "Transforms module"]),
    ],
)
def test_what_cannot_be_used_is_named_with_a_remedy_and_not_written(tmp_path, make, words):
    node = make()
    problem = problemOf(node)
    assert [word for word in words if word not in problem] == []
    with pytest.raises(InputError, match=words[0]):
        writeVolume(node, tmp_path / "a.nii")
    with pytest.raises(InputError, match=words[0]):
        Place.of(node)
    assert list(tmp_path.iterdir()) == []


def test_what_a_non_linear_transform_made_unusable_is_usable_when_hardened():
    node = warped_volume("vtkMRMLGridTransformNode")
    node.HardenTransform()
    assert problemOf(node) == ""


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (5.0, "constant: every voxel is 5")]
)
def test_values_that_cannot_be_used_are_named_before_the_child_starts(tmp_path, value, words):
    values = np.full((3, 4, 5), 5.0)
    values[1, 2, 3] = value
    with pytest.raises(InputError, match=f"'T1'.*{words}"):
        writeVolume(volume_node(values, np.eye(4), (), "T1"), tmp_path / "a.nii")


# Segments and label maps to labels on the grid of an image


@everywhere
@pytest.mark.parametrize("segments_where", ["straight", "oblique with thick slices", "under two transforms"])
def test_a_segmentation_on_any_grid_is_brought_onto_the_image(where, segments_where):
    volume, affine = sphere_node(where)
    axes, parents = PLACES[segments_where]
    fine = axes @ np.diag([0.8, 0.8, 0.8, 1])
    local = local_affine(fine, parents, (60, 60, 50))
    node = segmentation_node(parents=parents)
    segment = add_segment(node, distance(world_of(parents) @ local, (60, 60, 50)) < RADIUS, local)
    labels = labelMap(node, volume, {segment: 2})
    assert labels.dtype == np.uint8
    assert labels.shape == SHAPE
    assert set(np.unique(labels)) == {0, 2}
    assert_is_the_sphere(labels == 2, affine)


@everywhere
def test_labels_on_the_grid_of_the_image_are_copied_voxel_by_voxel(where):
    axes, parents = PLACES[where]
    volume, affine = sphere_node(where)
    node = segmentation_node()
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    mask = distance(affine) < RADIUS
    segment = add_segment(node, mask, local_affine(axes, parents))
    assert np.array_equal(labelMap(node, volume, {segment: 1}), mask)


@everywhere
def test_a_label_map_under_its_own_transform_is_brought_onto_the_image(where):
    volume, affine = sphere_node(where)
    axes, parents = PLACES["under two transforms"]
    local = local_affine(axes, parents)
    inside = distance(world_of(parents) @ local) < RADIUS
    node = volume_node(np.where(inside, 7, 0).astype(np.int16), local, parents, "truth", "vtkMRMLLabelMapVolumeNode")
    labels = labelMap(node, volume, {"7": 3})
    assert set(np.unique(labels)) == {0, 3}
    assert_is_the_sphere(labels == 3, affine)


def test_values_of_a_label_map_become_the_labels_that_are_asked_for():
    values = np.array([0, 1, 2, 4, 9, 0], np.int16).reshape(6, 1, 1)
    volume = volume_node(np.arange(6.0).reshape(6, 1, 1), OBLIQUE)
    node = volume_node(values, OBLIQUE, (), "truth", "vtkMRMLLabelMapVolumeNode")
    assert labelMap(node, volume, {"4": 3, "1": 1, "2": 2}).ravel().tolist() == [0, 1, 2, 3, 0, 0]


def test_coarse_slices_keep_their_volume_on_a_fine_image():
    volume, affine = sphere_node("straight")
    coarse = local_affine(np.diag([1.0, 1.0, 5.6, 1]), [], (48, 44, 9))
    mask = distance(coarse, (48, 44, 9)) < RADIUS
    node = segmentation_node()
    segment = add_segment(node, mask, coarse)
    labels = labelMap(node, volume, {segment: 1})
    assert millilitres(labels, affine) == pytest.approx(millilitres(mask, coarse), rel=0.02)


def test_a_small_lesion_of_a_fine_segmentation_is_not_moved_on_a_coarse_image():
    volume = volume_node(np.arange(15.0**3).reshape(15, 15, 15), np.diag([3.0, 3, 3, 1]))
    fine = np.diag([0.5, 0.5, 0.5, 1])
    node = segmentation_node()
    mask = distance(fine, (60, 60, 60), np.array([14.2, 15.1, 13.8])) < 8
    segment = add_segment(node, mask, fine)
    labels = labelMap(node, volume, {segment: 1})
    assert np.abs(center_of(labels, np.diag([3.0, 3, 3, 1])) - [14.2, 15.1, 13.8]).max() < 0.5
    assert labels.sum() * 27 == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.1)


def test_what_is_smaller_than_half_a_voxel_is_named_and_not_made_larger():
    """A sheet of 0.5 mm through the middle of 3 mm slices."""
    volume = volume_node(np.arange(5.0**3).reshape(5, 5, 5), np.diag([3.0, 3, 3, 1]), (), "thick")
    node = segmentation_node("sheet")
    segment = add_segment(node, np.ones((20, 20, 1), np.uint8), np.diag([0.5, 0.5, 0.5, 1]), start=(0, 0, 12))
    with pytest.raises(InputError, match="'sheet' is smaller than half a voxel of the image 'thick'"):
        labelMap(node, volume, {segment: 1})


@pytest.mark.parametrize("first_drawn", ["a", "b"])
def test_where_segments_overlap_the_later_class_wins(first_drawn):
    volume = volume_node(np.arange(6.0).reshape(6, 1, 1), np.eye(4))
    masks = {"a": [1, 1, 1, 0, 0, 0], "b": [0, 1, 1, 1, 0, 0]}
    node = segmentation_node()
    for name in sorted(masks, reverse=first_drawn == "b"):
        masks[name] = add_segment(node, np.array(masks[name], np.uint8).reshape(6, 1, 1), np.eye(4), name)
    assert labelMap(node, volume, {masks["a"]: 1, masks["b"]: 2}).ravel().tolist() == [1, 2, 2, 2, 0, 0]
    assert labelMap(node, volume, {masks["b"]: 2, masks["a"]: 1}).ravel().tolist() == [1, 1, 1, 2, 0, 0]


def test_where_segments_of_different_grids_overlap_the_later_class_wins():
    volume = volume_node(np.arange(8.0).reshape(8, 1, 1), np.eye(4))
    node = segmentation_node()
    straight = add_segment(node, np.ones((4, 1, 1), np.uint8), np.eye(4), "a")
    flipped = add_segment(node, np.ones((4, 1, 1), np.uint8), np.diag([-1.0, 1, 1, 1]) @ moved(-5, 0, 0), "b")
    assert labelMap(node, volume, {straight: 1, flipped: 2}).ravel().tolist() == [1, 1, 2, 2, 2, 2, 0, 0]
    assert labelMap(node, volume, {flipped: 2, straight: 1}).ravel().tolist() == [1, 1, 1, 1, 2, 2, 0, 0]


def test_classes_that_share_an_image_of_labels_are_told_apart():
    volume, affine = sphere_node("oblique under two transforms")
    wanted = tumour(affine)
    node = showLabels(wanted, GLIOMA, Place.of(volume))
    segments = {ourSegmentID(node, name): label for label, name in enumerate(GLIOMA.names) if label}
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    assert np.array_equal(labelMap(node, volume, segments), wanted)


@pytest.mark.parametrize("start", [(3, 2, 1), (-4, -3, -2)])
def test_a_segment_that_holds_only_its_own_box_keeps_its_place(start):
    volume = volume_node(np.arange(6.0 * 7 * 8).reshape(6, 7, 8), OBLIQUE)
    mask = np.ones((6, 5, 4), np.uint8)
    node = segmentation_node()
    segment = add_segment(node, mask, OBLIQUE, start=start)
    wanted = np.zeros((6, 7, 8), np.uint8)
    low, high = np.clip(start, 0, None), np.array(start) + mask.shape
    wanted[tuple(map(slice, low, high))] = 1
    assert np.array_equal(labelMap(node, volume, {segment: 1}), wanted)


@everywhere
def test_a_segmentation_made_of_surfaces_is_brought_onto_the_image_and_left_as_it_is(where):
    volume, affine = sphere_node(where)
    ball = vtk.vtkSphereSource()
    ball.SetRadius(RADIUS)
    ball.SetCenter(np.linalg.solve(RIGID, [*CENTER, 1])[:3])
    ball.SetThetaResolution(60)
    ball.SetPhiResolution(60)
    ball.Update()
    node = segmentation_node(parents=[RIGID])
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segment = node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", [1, 0, 0])
    labels = labelMap(node, volume, {segment: 1})
    assert_is_the_sphere(labels, affine)
    # Made on the grid of the image, not on another one first.
    assert np.count_nonzero(labels != (distance(affine) < RADIUS)) < 0.03 * labels.sum()
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    assert not node.GetSegmentation().GetConversionParameter("Reference image geometry")


def test_reading_labels_leaves_no_trace_in_the_scene():
    volume, _affine = sphere_node("under a rotation")
    node = segmentation_node(parents=[SHEARED])
    local = local_affine(STRAIGHT, [SHEARED])
    segment = add_segment(node, distance(SHEARED @ local) < RADIUS, local)
    events, watched = [], [slicer.mrmlScene, node, node.GetSegmentation(), volume]
    tags = [(thing, thing.AddObserver("AnyEvent", lambda _caller, event: events.append(event))) for thing in watched]
    labelMap(node, volume, {segment: 1})
    for thing, tag in tags:
        thing.RemoveObserver(tag)
    assert events == []


def test_labels_that_are_not_there_are_refused_with_the_reason():
    volume, _affine = sphere_node("straight")
    node = segmentation_node("mine")
    far = add_segment(node, np.ones((3, 3, 3), np.uint8), moved(500, 0, 0))
    empty = node.GetSegmentation().AddEmptySegment("empty")
    blank = add_segment(node, np.zeros((3, 3, 3), np.uint8), np.eye(4))
    with pytest.raises(InputError, match="'mine' lies outside of the image 'FLAIR'"):
        labelMap(node, volume, {far: 1})
    with pytest.raises(InputError, match="'mine' has no voxels of the classes"):
        labelMap(node, volume, {empty: 1, blank: 2})
    unloaded = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "truth")
    with pytest.raises(InputError, match="'truth' has no voxels of the classes"):
        labelMap(unloaded, volume, {"1": 1})
    with pytest.raises(InputError, match="'mine' has no segment 'gone'"):
        labelMap(node, volume, {"gone": 1})
    warped = warped_volume("vtkMRMLGridTransformNode")
    node.SetAndObserveTransformNodeID(warped.GetTransformNodeID())
    with pytest.raises(InputError, match=r"'mine' is under the non-linear transform 'warp'\. Harden"):
        labelMap(node, volume, {far: 1})
    with pytest.raises(InputError, match="'bent'"):
        labelMap(node, warped, {far: 1})


@everywhere
def test_a_written_label_map_lies_on_the_written_image(tmp_path, where):
    from TransferSegLib.volume import read_volume

    volume, affine = sphere_node(where)
    node = segmentation_node()
    segment = add_segment(node, distance(local_affine(STRAIGHT, [])) < RADIUS, local_affine(STRAIGHT, []))
    writeVolume(volume, tmp_path / "image.nii")
    writeLabelMap(node, volume, {segment: 4}, tmp_path / "label.nii")
    image, label = read_volume(tmp_path / "image.nii"), read_volume(tmp_path / "label.nii")
    assert label.grid.matches(image.grid, 1e-4)
    assert_is_the_sphere(label.data == 4, affine)


# Labels to segments


@everywhere
def test_labels_become_a_new_segmentation_in_the_right_place(where):
    volume, affine = sphere_node(where)
    labels = tumour(affine)
    node = showLabels(labels, GLIOMA, Place.of(volume), name="Tumour")
    assert node.GetName() == "Tumour"
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert node.GetNodeReference("referenceImageGeometryRef") is volume
    for label, name in enumerate(GLIOMA.names):
        if label:
            segment = ourSegmentID(node, name)
            assert node.GetSegmentation().GetSegment(segment).GetName() == name
            assert np.array_equal(slicers_mask(node, segment, volume), labels == label)
            mask, to_world = segment_in_world(node, segment)
            assert np.linalg.norm(center_of(mask.astype(float), to_world) - CENTER) < 0.5
            assert millilitres(mask, to_world) == pytest.approx(millilitres(labels == label, affine))


@everywhere
@pytest.mark.parametrize("own", [[], [RIGID], [SHEARED, RIGID]], ids=["no transform", "rotation", "two with shear"])
def test_labels_lie_in_the_right_place_of_a_segmentation_under_another_transform(where, own):
    volume, affine = sphere_node(where)
    node = segmentation_node(parents=own)
    mine = add_segment(node, np.ones((3, 4, 5), np.uint8), STRAIGHT, "mine")
    labels = (distance(affine) < RADIUS).astype(np.uint8)
    assert showLabels(labels, LESION, Place.of(volume), node) is node
    segment = ourSegmentID(node, "lesion")
    assert_is_the_sphere(*segment_in_world(node, segment))
    assert np.array_equal(labelMap(node, volume, {segment: 1}), labels)
    assert segment_in_world(node, mine)[0].sum() == 60


@everywhere
def test_a_result_of_the_child_makes_the_round_trip(tmp_path, where):
    from TransferSegLib.volume import read_volume, write_volume

    volume, affine = sphere_node(where)
    place = Place.of(volume)
    writeVolume(volume, tmp_path / "flair.nii")
    image = read_volume(tmp_path / "flair.nii")
    labels = tumour(affine)
    write_volume(image.with_data(GLIOMA.decode(labels)), tmp_path / "flair_seg.nii.gz")
    assert set(np.unique(readLabels(tmp_path / "flair_seg.nii.gz", place))) == {0, 1, 2, 4}
    read = readLabels(tmp_path / "flair_seg.nii.gz", place, GLIOMA)
    node = showLabels(read, GLIOMA, place)
    segments = {ourSegmentID(node, name): label for label, name in enumerate(GLIOMA.names) if label}
    assert np.array_equal(labelMap(node, volume, segments), labels)


def test_a_label_map_of_another_image_is_refused(tmp_path):
    from TransferSegLib.grid import Grid
    from TransferSegLib.volume import Volume, write_volume

    volume, affine = sphere_node("LPS")
    for name, grid in (("shape", Grid((4, 5, 6), affine)), ("place", Grid(SHAPE, affine @ moved(1, 0, 0)))):
        write_volume(Volume(np.zeros(grid.shape, np.uint8), grid), tmp_path / f"{name}.nii")
        with pytest.raises(InputError, match=f"{name}.nii is not on the grid of the image 'FLAIR'"):
            readLabels(tmp_path / f"{name}.nii", Place.of(volume))
    with pytest.raises(InputError, match="shape"):
        showLabels(np.zeros((4, 5, 6), np.uint8), GLIOMA, Place.of(volume))


def test_each_class_gets_a_segment_also_without_voxels():
    volume, affine = sphere_node("straight")
    labels = np.where(tumour(affine) == 2, 2, 0).astype(np.uint8)
    node = showLabels(labels, GLIOMA, Place.of(volume))
    segmentation = node.GetSegmentation()
    assert [segmentation.GetSegment(item).GetName() for item in segmentation.GetSegmentIDs()] == list(GLIOMA.names[1:])
    masks = [slicers_mask(node, item, volume).sum() for item in segmentation.GetSegmentIDs()]
    assert masks == [0, (labels == 2).sum(), 0]


def test_a_result_without_any_voxel_gives_empty_segments_that_can_be_saved(tmp_path):
    volume, _affine = sphere_node("straight")
    node = showLabels(np.zeros(SHAPE, np.uint8), GLIOMA, Place.of(volume))
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    with pytest.raises(InputError, match="has no voxels of the classes"):
        labelMap(node, volume, {ourSegmentID(node, "edema"): 2})
    assert slicer.util.saveNode(node, str(tmp_path / "empty.seg.nrrd"))
    slicer.mrmlScene.RemoveNode(node)
    loaded = slicer.util.loadSegmentation(str(tmp_path / "empty.seg.nrrd"))
    assert [bool(ourSegmentID(loaded, name)) for name in GLIOMA.names] == [False, True, True, True]


def test_a_segment_holds_no_more_than_its_box():
    volume, affine = sphere_node("straight")
    node = showLabels(tumour(affine), GLIOMA, Place.of(volume))
    image = node.GetBinaryLabelmapInternalRepresentation(ourSegmentID(node, "edema"))
    assert image.GetNumberOfPoints() < 0.5 * np.prod(SHAPE)


def test_a_new_segmentation_stands_beside_its_image_in_the_subject_hierarchy():
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Ann")
    study = hierarchy.CreateStudyItem(patient, "2024")
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "folder")
    for parent in (study, folder, hierarchy.GetSceneItemID()):
        volume, affine = sphere_node("straight")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), parent)
        node = showLabels(tumour(affine), GLIOMA, Place.of(volume))
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == parent


def test_new_segmentations_get_names_of_their_own():
    volume, affine = sphere_node("straight")
    names = [showLabels(tumour(affine), GLIOMA, Place.of(volume), name="Ann").GetName() for _ in range(3)]
    assert names == ["Ann", "Ann_1", "Ann_2"]


def test_our_segments_are_replaced_in_their_place_and_all_others_stay():
    volume, affine = sphere_node("oblique with thick slices")
    place = Place.of(volume)
    node = showLabels(tumour(affine), GLIOMA, place)
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    edema = ourSegmentID(node, "edema")
    segmentation.GetSegment(edema).SetName("swelling")
    segmentation.GetSegment(edema).SetColor(0.1, 0.2, 0.3)
    segmentation.GetSegment(edema).SetTag("Segmentation.Status", "completed")
    display.SetSegmentOpacity3D(edema, 0.25)
    display.SetSegmentVisibility(edema, False)
    mine = add_segment(node, distance(affine) < 5, local_affine(OBLIQUE, []), "edema")
    # A segment of the user in the very image of labels that ours share.
    segmentation.CollapseBinaryLabelmaps(False)
    shared = segmentation.GetSegmentIDs()
    before = {item: slicers_mask(node, item, volume) for item in shared}
    again = np.roll(tumour(affine), 3, 0)
    showLabels(again, GLIOMA, place, node)
    assert segmentation.GetSegmentIDs() == shared
    assert np.array_equal(slicers_mask(node, mine, volume), before[mine])
    for label, name in enumerate(GLIOMA.names[1:], 1):
        assert np.array_equal(slicers_mask(node, ourSegmentID(node, name), volume), again == label)
    assert ourSegmentID(node, "edema") == edema
    assert segmentation.GetSegment(edema).GetName() == "swelling"
    assert np.allclose(segmentation.GetSegment(edema).GetColor(), [0.1, 0.2, 0.3])
    assert display.GetSegmentOpacity3D(edema) == 0.25
    assert not display.GetSegmentVisibility(edema)
    assert not segmentation.GetSegment(edema).GetTag("Segmentation.Status", vtk.reference(""))


def test_segments_of_ours_and_of_others_may_share_voxels_and_layers():
    """A user who paints into our result shares its image; the next result must not take their voxels away."""
    volume, affine = sphere_node("straight")
    place = Place.of(volume)
    node = showLabels((distance(affine) < RADIUS).astype(np.uint8), LESION, place)
    mask = distance(affine, center=np.add(CENTER, (0, 15, 0))) < 3
    mine = add_segment(node, mask, local_affine(STRAIGHT, []), "mine")
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    showLabels(np.zeros(SHAPE, np.uint8), LESION, place, node)
    assert np.array_equal(slicers_mask(node, mine, volume), mask)
    assert not slicers_mask(node, ourSegmentID(node, "lesion"), volume).any()
    left = node.GetBinaryLabelmapInternalRepresentation(mine).GetPointData().GetScalars()
    values = set(np.unique(vtk.util.numpy_support.vtk_to_numpy(left)).tolist())
    assert values == {0, node.GetSegmentation().GetSegment(mine).GetLabelValue()}


def test_surfaces_shown_in_3d_follow_the_new_result_and_those_of_others_stay():
    volume, affine = sphere_node("straight")
    place = Place.of(volume)
    node = showLabels((distance(affine) < RADIUS).astype(np.uint8), LESION, place)
    mine = add_segment(node, distance(affine) < 6, local_affine(STRAIGHT, []), "mine")
    assert node.CreateClosedSurfaceRepresentation()
    other = node.GetClosedSurfaceInternalRepresentation(mine)
    made = other.GetMTime()
    showLabels((distance(affine) < RADIUS / 2).astype(np.uint8), LESION, place, node)
    surface = node.GetClosedSurfaceInternalRepresentation(ourSegmentID(node, "lesion"))
    assert surface.GetBounds()[1] - surface.GetBounds()[0] == pytest.approx(RADIUS, abs=1.5)
    assert node.GetClosedSurfaceInternalRepresentation(mine) is other
    assert other.GetMTime() == made


def test_observers_of_the_segmentation_are_told_at_the_end_when_all_segments_are_there():
    volume, affine = sphere_node("straight")
    node, told = segmentation_node(), []

    def modified(_caller, _event):
        told.append(node.GetSegmentation().GetNumberOfSegments())

    node.AddObserver("ModifiedEvent", modified)
    showLabels(tumour(affine), GLIOMA, Place.of(volume), node)
    assert told == [3]


def test_a_segmentation_that_cannot_hold_the_result_is_refused_and_left_alone():
    volume, affine = sphere_node("straight")
    node = segmentation_node("surfaces")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    ball = vtk.vtkSphereSource()
    ball.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", [1, 0, 0])
    with pytest.raises(InputError, match="'surfaces' is made of surfaces"):
        showLabels(tumour(affine), GLIOMA, Place.of(volume), node)
    warped = segmentation_node("mine")
    warped.SetAndObserveTransformNodeID(warped_volume("vtkMRMLGridTransformNode").GetTransformNodeID())
    with pytest.raises(InputError, match="'mine' is under the non-linear transform 'warp'"):
        showLabels(tumour(affine), GLIOMA, Place.of(volume), warped)
    assert (node.GetSegmentation().GetNumberOfSegments(), warped.GetSegmentation().GetNumberOfSegments()) == (1, 0)


def test_an_empty_segmentation_for_surfaces_takes_labels():
    volume, affine = sphere_node("straight")
    node = segmentation_node()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    showLabels(tumour(affine), GLIOMA, Place.of(volume), node)
    assert node.GetSegmentation().GetSourceRepresentationName() == "Binary labelmap"
    assert np.array_equal(slicers_mask(node, ourSegmentID(node, "edema"), volume), tumour(affine) == 2)


def test_the_grid_to_draw_on_is_that_of_the_image_unless_somebody_drew_on_another():
    first, affine = sphere_node("straight", name="first")
    second, other = sphere_node("oblique with thick slices", name="second")
    node = showLabels(tumour(affine), GLIOMA, Place.of(first))
    showLabels(tumour(other), GLIOMA, Place.of(second), node)
    assert node.GetNodeReference("referenceImageGeometryRef") is second
    add_segment(node, np.ones((2, 2, 2), np.uint8), affine, "mine")
    showLabels(tumour(affine), GLIOMA, Place.of(first), node)
    assert node.GetNodeReference("referenceImageGeometryRef") is second


# The scene may change while the child works


def test_a_result_follows_its_image_that_was_moved_meanwhile():
    volume, affine = sphere_node("under a rotation")
    place = Place.of(volume)
    volume.GetParentTransformNode().SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(SHEARED))
    node = showLabels(tumour(affine), GLIOMA, place)
    given = showLabels(tumour(affine), GLIOMA, place, segmentation_node())
    for shown in (node, given):
        mask, to_world = segment_in_world(shown, ourSegmentID(shown, "necrotic"))
        now = (SHEARED @ np.linalg.inv(RIGID) @ [*CENTER, 1])[:3]
        assert np.linalg.norm(center_of(mask.astype(float), to_world) - now) < 0.5


def test_a_result_follows_its_image_whose_transform_was_hardened_meanwhile():
    volume, affine = sphere_node("under scaling and shear")
    place = Place.of(volume)
    volume.HardenTransform()
    node = showLabels((distance(affine) < RADIUS).astype(np.uint8), LESION, place)
    assert_is_the_sphere(*segment_in_world(node, ourSegmentID(node, "lesion")))


@everywhere
def test_a_result_of_an_image_that_is_gone_lies_where_it_was(where):
    volume, affine = sphere_node(where)
    place = Place.of(volume)
    slicer.mrmlScene.Clear(0)
    # The IDs of nodes are given away again: this is another patient.
    other = volume_node(np.arange(float(np.prod(SHAPE))).reshape(SHAPE), moved(300, 0, 0), [RIGID])
    assert other.GetID() == place.volumeID
    node = showLabels((distance(affine) < RADIUS).astype(np.uint8), LESION, place)
    assert node.GetParentTransformNode() is None
    assert node.GetNodeReference("referenceImageGeometryRef") is None
    grid = slicer.vtkOrientedImageData()
    geometry = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, grid)
    assert grid.GetDimensions() == SHAPE
    assert_is_the_sphere(*segment_in_world(node, ourSegmentID(node, "lesion")))


def test_a_result_of_an_image_that_was_cropped_meanwhile_lies_where_it_was():
    volume, affine = sphere_node("LPS")
    place = Place.of(volume)
    slicer.util.updateVolumeFromArray(volume, np.arange(24.0).reshape(2, 3, 4))
    volume.SetOrigin(1, 2, 3)
    node = showLabels((distance(affine) < RADIUS).astype(np.uint8), LESION, place)
    assert_is_the_sphere(*segment_in_world(node, ourSegmentID(node, "lesion")))


def test_a_result_whose_segmentation_was_deleted_meanwhile_gets_a_new_one():
    volume, affine = sphere_node("LPS")
    gone = segmentation_node("gone")
    slicer.mrmlScene.RemoveNode(gone)
    node = showLabels(tumour(affine), GLIOMA, Place.of(volume), gone, name="new")
    assert node is not gone
    assert slicer.mrmlScene.IsNodePresent(node)
    assert gone.GetSegmentation().GetNumberOfSegments() == 0


def test_the_place_names_the_node_and_its_transform():
    volume, affine = sphere_node("under two transforms")
    place = Place.of(volume)
    assert (place.volumeID, place.volumeName, place.shape) == (volume.GetID(), "FLAIR", SHAPE)
    assert place.transformID == volume.GetParentTransformNode().GetID()
    assert np.allclose(place.affine, affine)
    assert np.allclose(place.ijkToRas, local_affine(*PLACES["under two transforms"]))


# Undo, save, reload


def test_undo_gives_the_segments_from_before_back():
    volume, affine = sphere_node("under a rotation")
    place = Place.of(volume)
    first = tumour(affine)
    node = showLabels(first, GLIOMA, place)
    mine = add_segment(node, distance(affine) < 4, local_affine(LPS, [RIGID]), "mine")
    node.UndoEnabledOn()
    slicer.mrmlScene.SetUndoOn()
    try:
        showLabels(np.roll(first, 2, 1), GLIOMA, place, node)
        assert not np.array_equal(slicers_mask(node, ourSegmentID(node, "edema"), volume), first == 2)
        slicer.mrmlScene.Undo()
        node = slicer.mrmlScene.GetNodeByID(node.GetID())
        for label, name in enumerate(GLIOMA.names[1:], 1):
            assert np.array_equal(slicers_mask(node, ourSegmentID(node, name), volume), first == label)
        assert node.GetSegmentation().GetNumberOfSegments() == 4
        assert np.array_equal(slicers_mask(node, mine, volume), distance(affine) < 4)
    finally:
        slicer.mrmlScene.SetUndoOff()
        slicer.mrmlScene.ClearUndoStack()


def test_undo_of_the_segment_editor_gives_the_segments_from_before_back():
    if not hasattr(slicer.modules, "segmenteditor"):
        pytest.skip("There is no Segment Editor here")
    volume, affine = sphere_node("straight")
    place = Place.of(volume)
    first = tumour(affine)
    node = showLabels(first, GLIOMA, place)
    slicer.modules.segmenteditor.widgetRepresentation()
    slicer.modules.SegmentEditorWidget.selectParameterNode()
    editor = slicer.modules.SegmentEditorWidget.editor
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(volume)
    showLabels(np.roll(first, 2, 1), GLIOMA, place, node)
    editor.undo()
    assert np.array_equal(slicers_mask(node, ourSegmentID(node, "edema"), volume), first == 2)
    editor.redo()
    assert np.array_equal(slicers_mask(node, ourSegmentID(node, "edema"), volume), np.roll(first, 2, 1) == 2)


@pytest.mark.parametrize("suffix", ["mrb", "mrml"])
@pytest.mark.parametrize("where", ["straight", "oblique with thick slices", "oblique under two transforms"])
def test_segments_survive_saving_and_loading_the_scene(tmp_path, suffix, where):
    volume, affine = sphere_node(where)
    node = showLabels(tumour(affine), GLIOMA, Place.of(volume), name="Tumour")
    if suffix == "mrml":
        assert slicer.util.saveNode(volume, str(tmp_path / "v.nrrd"))
        assert slicer.util.saveNode(node, str(tmp_path / "s.seg.nrrd"))
    assert slicer.util.saveScene(str(tmp_path / f"s.{suffix}"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / f"s.{suffix}"))
    node, volume = slicer.util.getNode("Tumour"), slicer.util.getNode("FLAIR")
    assert np.allclose(Place.of(volume).affine, affine, atol=1e-3)
    segments = {ourSegmentID(node, name): label for label, name in enumerate(GLIOMA.names) if label}
    assert "" not in segments
    assert np.array_equal(labelMap(node, volume, segments), tumour(affine))
    edema = node.GetSegmentation().GetSegment(ourSegmentID(node, "edema"))
    assert np.allclose(np.array(edema.GetColor()) * 255, GLIOMA.classes[2].color, atol=0.6)
    assert "79654002" in edema.GetTerminology()
    assert node.GetNodeReference("referenceImageGeometryRef") is volume
    # And a next result still finds them.
    showLabels(np.roll(tumour(affine), 1, 0), GLIOMA, Place.of(volume), node)
    assert node.GetSegmentation().GetNumberOfSegments() == 3
