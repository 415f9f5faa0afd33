"""Nodes are real; what Slicer's Qt side adds to them (files, views, subject hierarchy) behaves as there."""

import json

import numpy as np
import pytest
import slicer
import vtk


def make_volume(name="T1", shape=(6, 7, 8)):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.arange(np.prod(shape), dtype="float32").reshape(shape))
    matrix = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, -7], [0, 0, 1.5, 11], [0, 0, 0, 1.0]])
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return node


@pytest.mark.parametrize("name", ["v.nrrd", "v.nii.gz", "Kůra ž.nrrd"])
def test_a_volume_is_saved_and_loaded_where_it_was(tmp_path, name):
    volume = make_volume()
    assert slicer.util.saveNode(volume, str(tmp_path / name)) is True
    loaded = slicer.util.loadVolume(str(tmp_path / name), {"name": "again"})
    assert loaded.GetName() == "again"
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
    before, after = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(before)
    loaded.GetIJKToRASMatrix(after)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(before), slicer.util.arrayFromVTKMatrix(after), atol=1e-5)


def test_what_cannot_be_loaded_raises(tmp_path):
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "missing.nrrd"))
    with pytest.raises(slicer.util.MRMLNodeNotFoundException):
        slicer.util.getNode("missing")
    assert slicer.mrmlScene.GetNodeByID("missing") is None


def test_labels_go_into_a_segmentation_and_out_again():
    volume = make_volume()
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    array = (np.arange(6 * 7 * 8).reshape(6, 7, 8) % 3).astype("uint8")
    slicer.util.updateVolumeFromArray(labels, array)
    labels.CopyOrientation(volume)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    logic = slicer.modules.segmentations.logic()
    assert logic.ImportLabelmapToSegmentationNode(labels, segmentation)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2
    out = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "out")
    assert logic.ExportAllSegmentsToLabelmapNode(segmentation, out, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY)
    assert np.array_equal(slicer.util.arrayFromVolume(out), array)


def test_a_segment_has_colour_and_terminology(tmp_path):
    code = {"CodingSchemeDesignator": "SCT", "CodeValue": "1", "CodeMeaning": "Thing"}
    kind = {**code, "CodeValue": "2", "CodeMeaning": "Lesion", "recommendedDisplayRGBValue": [255, 0, 0]}
    context = {
        "SegmentationCategoryTypeContextName": "Own",
        "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/segment-context-schema.json#",
        "SegmentationCodes": {"Category": [{**code, "showAnatomy": False, "Type": [kind]}]},
    }
    (tmp_path / "own.term.json").write_text(json.dumps(context), "utf-8")
    logic = slicer.modules.terminologies.logic()
    assert logic.LoadTerminologyFromFile(str(tmp_path / "own.term.json")) == "Own"
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segment_id = segmentation.GetSegmentation().AddEmptySegment("lesion", "lesion", [1, 0, 0])
    entry = "Own~SCT^1^Thing~SCT^2^Lesion~^^~Anatomic codes - DICOM master list~^^~^^"
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
    found = slicer.vtkSlicerTerminologyEntry()
    assert logic.DeserializeTerminologyEntry(entry, found)
    assert found.GetTypeObject().GetCodeMeaning() == "Lesion"


def test_parent_transforms_are_real():
    volume = make_volume()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1, 1, 2, 1.0])))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    to_world = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(volume.GetParentTransformNode(), None, to_world)
    assert to_world.GetElement(2, 2) == 2
    assert volume.HardenTransform()
    assert volume.GetSpacing()[2] == pytest.approx(3.0)


def test_new_nodes_have_an_item_in_the_subject_hierarchy():
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    item = hierarchy.GetItemByDataNode(make_volume())
    assert hierarchy.GetItemOwnerPluginName(item) == "Volumes"
    hierarchy.SetItemParent(item, study)
    assert hierarchy.GetItemParent(item) == study
    hidden = slicer.mrmlScene.CreateNodeByClass("vtkMRMLTableNode")
    hidden.UnRegister(None)
    hidden.SetHideFromEditors(True)
    assert hierarchy.GetItemByDataNode(slicer.mrmlScene.AddNode(hidden)) == 0
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("T1"))
    assert hierarchy.GetItemDataNode(item) is None


@pytest.mark.parametrize("suffix", ["mrb", "mrml"])
def test_a_scene_is_saved_closed_and_loaded(tmp_path, suffix):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    volume = make_volume()
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    if suffix == "mrml":
        slicer.util.saveNode(volume, str(tmp_path / "v.nrrd"))
    events = []
    tags = [
        slicer.mrmlScene.AddObserver(event, lambda _caller, name: events.append(name))
        for event in (slicer.mrmlScene.StartCloseEvent, slicer.mrmlScene.EndCloseEvent, slicer.mrmlScene.EndImportEvent)
    ]
    assert slicer.util.saveScene(str(tmp_path / f"s.{suffix}"))
    slicer.mrmlScene.Clear(0)
    assert not slicer.util.getNodes("T1")
    slicer.util.loadScene(str(tmp_path / f"s.{suffix}"))
    for tag in tags:
        slicer.mrmlScene.RemoveObserver(tag)
    loaded = slicer.util.getNode("T1")
    assert slicer.util.arrayFromVolume(loaded).shape == (6, 7, 8)
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemName(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(loaded))) == "study"
    assert len(events) == 3


def test_views_have_real_nodes_and_logics():
    manager = slicer.app.layoutManager()
    assert set(manager.sliceViewNames()) == {"Red", "Green", "Yellow"}
    volume = make_volume()
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    logic = manager.sliceWidget("Red").sliceLogic()
    assert logic.GetSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()
    assert logic.GetSliceNode().GetOrientation() == "Axial"
    assert manager.sliceWidget("Purple") is None
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView
    assert manager.plotWidget(0).mrmlPlotViewNode().IsA("vtkMRMLPlotViewNode")
    slicer.mrmlScene.Clear(0)
    assert logic.GetSliceNode() is slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")


def test_a_chart_is_shown_in_the_layout():
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "curves")
    slicer.util.updateTableFromArray(table, np.random.default_rng(0).random((5, 2)), ["epoch", "dice"])
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "dice")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("epoch")
    series.SetYColumnName("dice")
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == chart.GetID()
    assert slicer.app.layoutManager().plotViewCount == 1


def test_undo_of_a_node():
    slicer.mrmlScene.SetUndoOn()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "before")
    node.UndoEnabledOn()
    slicer.mrmlScene.SaveStateForUndo()
    node.SetName("after")
    slicer.mrmlScene.Undo()
    assert slicer.mrmlScene.GetNodeByID(node.GetID()).GetName() == "before"
    slicer.mrmlScene.SetUndoOff()


def test_what_the_stand_in_cannot_do_is_refused_by_name(tmp_path):
    with pytest.raises(NotImplementedError, match="reads no"):
        slicer.util.loadNodeFromFile(__file__, "ModelFile")
    with pytest.raises(NotImplementedError, match="only"):
        slicer.util.saveScene(str(tmp_path / "folder"))
