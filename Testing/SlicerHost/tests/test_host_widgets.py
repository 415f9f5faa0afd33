"""Stand-in widgets, and .ui files that a real Slicer would load only in part."""

import ctk
import numpy as np
import pytest
import qt
import slicer
from SlicerHost import faults


def load(tmp_path, body, classes=("qMRMLWidget", "qMRMLNodeComboBox"), connections=""):
    custom = "".join(f"<customwidget><class>{c}</class><extends>QWidget</extends></customwidget>" for c in classes)
    text = f"""<ui version="4.0"><class>P</class><widget class="qMRMLWidget" name="P">
      <layout class="QVBoxLayout" name="l"><item>{body}</item></layout></widget>
      <customwidgets>{custom}</customwidgets><connections>{connections}</connections></ui>"""
    (tmp_path / "p.ui").write_text(text, "utf-8")
    return slicer.util.loadUI(str(tmp_path / "p.ui"))


def combo_box(**properties):
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    for name, value in properties.items():
        setattr(combo, name, value)
    combo.setMRMLScene(slicer.mrmlScene)
    return combo


def add(class_name="vtkMRMLScalarVolumeNode", name="v"):
    return slicer.mrmlScene.AddNewNodeByClass(class_name, name)


def test_a_file_gives_named_widgets_with_their_properties(tmp_path):
    types = "<property name='nodeTypes'><stringlist><string>vtkMRMLTableNode</string></stringlist></property>"
    bound = "<property name='SlicerParameterName' stdset='0'><string>table</string></property>"
    body = f"<widget class='qMRMLNodeComboBox' name='selector'>{types}{bound}</widget>"
    widget = load(tmp_path, body)
    assert isinstance(widget, slicer.qMRMLWidget)
    ui = slicer.util.childWidgetVariables(widget)
    assert isinstance(ui.selector, slicer.qMRMLNodeComboBox)
    assert ui.selector.nodeTypes == ("vtkMRMLTableNode",)
    assert ui.selector.SlicerParameterName == "table"
    assert widget.findChild("qMRMLNodeComboBox", "selector") is ui.selector


def test_a_connection_of_the_file_carries_the_scene(tmp_path):
    connection = """<connection><sender>P</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
      <receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"""
    widget = load(tmp_path, "<widget class='qMRMLNodeComboBox' name='selector'/>", connections=connection)
    widget.setMRMLScene(slicer.mrmlScene)
    assert slicer.util.childWidgetVariables(widget).selector.mrmlScene() is slicer.mrmlScene


def test_mistakes_in_a_file_are_refused(tmp_path):
    with pytest.raises(faults.HostRefusal, match="ctkRangeWidget"):
        load(tmp_path, "<widget class='ctkRangeWidget' name='w'/>", classes=("qMRMLWidget", "ctkRangeWidget"))
    body = "<widget class='QLabel' name='w'><property name='txet'><string>x</string></property></widget>"
    with pytest.raises(faults.HostRefusal, match="no property 'txet'"):
        load(tmp_path, body)
    wrong = """<connection><sender>P</sender><signal>sceneChanged(vtkMRMLScene*)</signal>
      <receiver>w</receiver><slot>clear()</slot></connection>"""
    with faults.expected(), pytest.raises(faults.HostRefusal, match="no signal"):
        load(tmp_path, "<widget class='QLabel' name='w'/>", connections=wrong)
    with pytest.raises(RuntimeError, match="not found"):
        slicer.util.loadUI(str(tmp_path / "missing.ui"))


def test_nothing_is_chosen_until_someone_chooses():
    combo = combo_box()
    volume = add()
    assert combo.currentNode() is None
    assert combo.currentNodeID == ""
    assert combo.nodeCount() == 1
    combo.setCurrentNode(volume)
    assert combo.currentNode() is volume
    combo.setCurrentNode(None)
    assert combo.currentNode() is None


def test_only_fitting_nodes_are_offered():
    labels, hidden = add("vtkMRMLLabelMapVolumeNode"), add()
    hidden.SetHideFromEditors(True)
    add("vtkMRMLTableNode")
    assert combo_box(showChildNodeTypes=False).nodeCount() == 0
    combo = combo_box()
    assert [combo.nodeFromIndex(i) for i in range(combo.nodeCount())] == [labels]
    combo.setCurrentNode(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode"))
    assert combo.currentNode() is None
    combo.addAttribute("vtkMRMLScalarVolumeNode", "role", "input")
    assert combo.nodeCount() == 0


def test_the_list_follows_the_scene():
    combo, seen = combo_box(noneEnabled=True), []
    combo.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    volume = add(name="before")
    combo.setCurrentNode(volume)
    volume.SetName("after")
    assert combo.findChild("QComboBox").currentText == "after"
    slicer.mrmlScene.RemoveNode(volume)
    assert seen == [volume, None]
    assert combo.nodeCount() == 0


def test_a_new_node_by_the_user():
    combo, seen = combo_box(baseName="Output"), []
    combo.connect("nodeAddedByUser(vtkMRMLNode*)", seen.append)
    node = combo.addNode()
    assert seen == [node]
    assert node.GetName() == "Output"
    assert combo.currentNode() is node


def test_a_selector_that_is_gone_hears_nothing():
    combo = combo_box()
    combo.delete()
    add()
    assert not combo


def test_checkable_selector():
    combo, seen = slicer.qMRMLCheckableNodeComboBox(), []
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.setMRMLScene(slicer.mrmlScene)
    combo.connect("checkedNodesChanged()", lambda: seen.append(combo.checkedNodes()))
    first, second = add(name="a"), add(name="b")
    combo.setCheckState(second, qt.Qt.Checked)
    combo.setCheckState(first, qt.Qt.Checked)
    assert seen == [(second,), (first, second)]


def test_segments_table_follows_its_node():
    table, node = slicer.qMRMLSegmentsTableView(), add("vtkMRMLSegmentationNode")
    table.setSegmentationNode(node)
    for name in "abc":
        node.GetSegmentation().AddEmptySegment(name, name)
    assert table.segmentCount == 3
    table.setSelectedSegmentIDs(["b", "c"])
    assert table.selectedSegmentIDs() == ("b", "c")
    assert table.segmentationNode() is node
    node.GetSegmentation().RemoveSegment("a")
    assert table.segmentCount == 2
    with pytest.raises(TypeError):
        table.setSegmentationNode("vtkMRMLSegmentationNode1")


def test_table_view_shows_the_table():
    view, node = slicer.qMRMLTableView(), add("vtkMRMLTableNode")
    slicer.util.updateTableFromArray(node, np.array([[0.5, 2.0]]), ["dice", "ml"])
    view.setMRMLTableNode(node)
    assert view.model().rowCount() == 1
    assert view.model().index(0, 1).data() == "2"


def test_a_section_closes_over_its_contents():
    section = ctk.ctkCollapsibleButton()
    layout = qt.QFormLayout(section)
    line, hidden = qt.QLineEdit(), qt.QLineEdit()
    layout.addRow("a", line)
    layout.addRow("b", hidden)
    hidden.visible = False
    seen = []
    section.connect("contentsCollapsed(bool)", seen.append)
    section.collapsed = True
    assert line.isHidden()
    section.collapsed = False
    assert not line.isHidden()
    assert hidden.isHidden()
    assert seen == [True, False]
    assert not section.checked or not section.collapsed


def test_names_that_only_qt_6_has_are_not_there():
    for widget, name in ((qt.QFormLayout(), "setRowVisible"), (qt.QCheckBox(), "checkStateChanged")):
        assert not hasattr(widget, name)
    assert not hasattr(ctk.ctkCollapsibleButton(), "setCollapsed")
    assert not hasattr(ctk.ctkDoubleSpinBox(), "setRange")
