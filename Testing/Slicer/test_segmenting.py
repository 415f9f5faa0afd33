"""From volume nodes through a child process to a segmentation node, with a model whose answer is known."""

import numpy as np
import pytest
import slicer
import vtk
from scenes import CHANNELS, SPACING, addPatient, addTransform, addVolume, affine, distances, segmentVoxels, waitFor
from TransferSegBridge.segmenting import SegmentJob, SegmentRequest
from vtk.util.numpy_support import vtk_to_numpy

from TransferSegLib.errors import TransferSegError

AT, RADIUS = (20.0, 10.0, 5.0), 16.0


@pytest.fixture
def byHand(tmp_path, monkeypatch):
    """A model that calls a lesion what is brighter than 725 in FLAIR."""
    from hand_model import threshold_model

    from TransferSegLib.model import save_model

    monkeypatch.setenv("TRANSFERSEG_HOME", str(tmp_path / "home"))
    return str(save_model(threshold_model(channels=CHANNELS, level=725.0), tmp_path / "by-hand"))


def segment(nodes, model, **options):
    job = SegmentJob(SegmentRequest(nodes, model, **options))
    job.start()
    return job.wait()


def worldCentre(segmentation, segmentID):
    """Centre of gravity in the world, mm, and volume in ml, of a segment as Slicer holds it."""
    image = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(segmentID, image)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions(), order="F")
    index = np.argwhere(values > 0) + np.array(image.GetExtent()[::2])
    local = slicer.util.arrayFromVTKMatrix(matrix)
    world = np.eye(4)
    if segmentation.GetParentTransformNode() is not None:
        toWorld = vtk.vtkMatrix4x4()
        segmentation.GetParentTransformNode().GetMatrixTransformToWorld(toWorld)
        world = slicer.util.arrayFromVTKMatrix(toWorld)
    whole = world @ local
    voxel = abs(np.linalg.det(whole[:3, :3])) / 1000
    return (whole @ [*index.mean(0), 1])[:3], len(index) * voxel


def test_bright_ball_becomes_a_segment_where_it_is(byHand):
    nodes = addPatient("a", AT, RADIUS)
    result = segment(nodes, byHand)
    found = segmentVoxels(result.segmentation, "lesion", nodes["flair"])
    wanted = distances(AT) < RADIUS
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.97
    assert result.warnings == []


def test_oblique_volumes_under_a_transform_come_out_right_in_the_world(byHand):
    turn = np.radians(25)
    oblique = np.eye(4)
    oblique[:3, :3] = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    above = np.eye(4)
    above[:3, :3] = oblique[:3, :3].T @ [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    above[:3, 3] = (30, -12, 7)
    nodes = addPatient("a", AT, RADIUS)
    for node in nodes.values():
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(oblique @ affine()))
    addTransform(above, *nodes.values())
    result = segment(nodes, byHand)
    centre, volume = worldCentre(result.segmentation, "lesion")
    wanted = (above @ oblique @ [*AT, 1])[:3]
    assert np.abs(centre - wanted).max() < SPACING / 2
    assert volume == pytest.approx(4 / 3 * np.pi * RADIUS**3 / 1000, rel=0.05)


def test_channels_on_other_grids_are_brought_together(byHand):
    nodes = addPatient("a", AT, RADIUS)
    # FLAIR with other voxels, flipped and shifted: the result lies on its grid.
    side, spacing = 30, 5.0
    flipped = affine(spacing, side)
    values = np.where(distances((0, 0, 0), spacing, side) < 60, 500, 0)
    values = np.where(distances(AT, spacing, side) < RADIUS, 950, values).astype(np.int16)
    flipped[:, 3] = flipped @ [side - 1, 0, 0, 1]
    flipped[0, 0] *= -1
    slicer.mrmlScene.RemoveNode(nodes["flair"])
    nodes["flair"] = addVolume("other", values[::-1], flipped)
    result = segment(nodes, byHand)
    found = segmentVoxels(result.segmentation, "lesion", nodes["flair"])
    wanted = distances(AT, spacing, side)[::-1] < RADIUS
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.95


def test_table_has_the_volumes(byHand):
    result = segment(addPatient("a", AT, RADIUS), byHand)
    table = result.table.GetTable()
    assert table.GetColumn(0).GetValue(0) == "lesion"
    assert table.GetColumn(1).GetValue(0) == pytest.approx((distances(AT) < RADIUS).sum() * SPACING**3 / 1000, rel=0.05)
    assert table.GetColumn(2).GetValue(0) == "1"


def test_chosen_segmentation_keeps_what_is_not_ours(byHand):
    nodes = addPatient("a", AT, RADIUS)
    first = segment(nodes, byHand).segmentation
    mine = first.GetSegmentation().AddEmptySegment("mine", "lesion")
    again = segment(nodes, byHand, segmentation=first)
    assert again.segmentation is first
    assert set(first.GetSegmentation().GetSegmentIDs()) == {"lesion", mine}


def test_volume_that_was_deleted_meanwhile_still_gets_its_result(byHand):
    nodes = addPatient("a", AT, RADIUS)
    job = SegmentJob(SegmentRequest(nodes, byHand))
    job.start()
    for node in nodes.values():
        slicer.mrmlScene.RemoveNode(node)
    result = job.wait()
    centre, _volume = worldCentre(result.segmentation, "lesion")
    assert np.abs(centre - AT).max() < SPACING / 2


def test_closed_scene_stops_the_work_and_shows_nothing(byHand):
    done = []
    job = SegmentJob(SegmentRequest(addPatient("a"), byHand), onFinished=done.append)
    job.start()
    slicer.mrmlScene.Clear(0)
    addPatient("another")
    waitFor(lambda: done)
    assert done[0].segmentation is None
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


@pytest.mark.parametrize("after", [0, 1, 4])
def test_cancel_at_any_moment_leaves_nothing_behind(byHand, after):
    events, done = [], []
    job = SegmentJob(SegmentRequest(addPatient("a"), byHand), events.append, done.append)
    job.start()
    waitFor(lambda: len(events) >= after or done)
    job.stop()
    waitFor(lambda: done)
    assert done[0].outcome.cancelled or done[0].outcome.ok
    assert not job.running
    assert not job._folder.exists()


def test_error_in_the_child_is_told_with_its_cause(byHand):
    nodes = addPatient("a")
    # It lies elsewhere in space.
    far = np.eye(4)
    far[:3, 3] = 1000
    addTransform(far, nodes["t1"])
    with pytest.raises(TransferSegError, match="0%"):
        segment(nodes, byHand)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


class TestRefusals:
    def test_missing_channel_is_named(self, byHand):
        nodes = addPatient("a")
        del nodes["t2"]
        assert "t2" in SegmentRequest(nodes, byHand).problem(CHANNELS)
        with pytest.raises(TransferSegError, match="t2"):
            segment(nodes, byHand)

    def test_one_volume_for_two_channels_is_named(self, byHand):
        nodes = addPatient("a")
        nodes["t2"] = nodes["flair"]
        assert "a_flair" in SegmentRequest(nodes, byHand).problem(CHANNELS)

    def test_unknown_model(self):
        with pytest.raises(TransferSegError, match="no-such"):
            segment(addPatient("a"), "no-such")

    def test_no_model(self):
        assert SegmentRequest(addPatient("a"), "").problem(CHANNELS)
