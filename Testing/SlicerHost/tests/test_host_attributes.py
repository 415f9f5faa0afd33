# ruff: noqa: N802
"""PythonQt's attributes: properties are not called, unknown names fail, values are converted as PythonQt does."""

import ctk
import numpy as np
import pytest
import qt
import slicer


def test_properties_are_attributes_and_no_methods():
    button = qt.QPushButton("Apply")
    assert button.text == "Apply"
    assert button.enabled is True
    with pytest.raises(TypeError):
        button.text()


@pytest.mark.parametrize(
    ("widget", "name"),
    [
        (qt.QLineEdit, "text"),
        (qt.QComboBox, "currentIndex"),
        (qt.QComboBox, "count"),
        (qt.QSpinBox, "value"),
        (qt.QSlider, "maximum"),
        (qt.QCheckBox, "checked"),
        (qt.QTableWidget, "rowCount"),
        (qt.QTabWidget, "count"),
        (qt.QProgressBar, "value"),
        (qt.QPlainTextEdit, "plainText"),
        (qt.QWidget, "visible"),
        (ctk.ctkCollapsibleButton, "collapsed"),
        (ctk.ctkPathLineEdit, "currentPath"),
        (slicer.qMRMLNodeComboBox, "currentNodeID"),
    ],
)
def test_calling_a_property_fails(widget, name):
    made = widget()
    getattr(made, name)
    with pytest.raises(TypeError):
        getattr(made, name)()


@pytest.mark.parametrize("name", ["isEnabled", "isVisible", "parent", "layout", "children", "setEnabled", "show"])
def test_methods_stay_methods(name):
    assert callable(getattr(qt.QWidget(), name))


def test_items_have_methods_only():
    assert qt.QTableWidgetItem("a").text() == "a"
    assert qt.QColor(255, 0, 0).name() == "#ff0000"
    assert callable(qt.QListWidgetItem("a").text)


def test_unknown_names_fail_when_read_and_when_written():
    button = qt.QPushButton()
    with pytest.raises(AttributeError):
        button.caption  # noqa: B018
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects is not allowed"):
        button.caption = "x"
    with pytest.raises(AttributeError):
        button.setText = None
    with pytest.raises(AttributeError):
        slicer.app.processEvents = None


def test_a_python_subclass_may_have_attributes_and_override():
    class Panel(qt.QWidget):
        def __init__(self, parent=None):
            super().__init__(parent)
            self.sizes = []

        def resizeEvent(self, event):
            self.sizes.append(event.size().width())

    panel = Panel()
    panel.resize(123, 45)
    panel.show()
    slicer.app.processEvents()
    assert panel.sizes[-1] == 123
    assert isinstance(panel, Panel)


def test_conversions_of_properties():
    box, check = qt.QSpinBox(), qt.QCheckBox()
    box.value = 1.7
    assert box.value == 1
    box.value = np.int64(5)
    assert box.value == 5
    with pytest.raises(AttributeError, match="does not accept an object of type str"):
        box.value = "5"
    check.checked = "yes"
    assert check.checked is True
    check.checked = None
    assert check.checked is False


def test_conversions_of_arguments():
    label = qt.QLabel()
    label.setText(5)
    assert label.text == "5"
    label.setText(None)
    assert label.text == "None"
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLModelNode"]
    assert combo.nodeTypes == ("vtkMRMLModelNode",)


def test_no_keyword_arguments_and_wrong_arguments_are_value_errors():
    with pytest.raises(ValueError, match="kwargs"):
        qt.QLabel(text="x")
    with pytest.raises(ValueError, match="kwargs"):
        qt.QLabel().setText(text="x")
    with pytest.raises(ValueError, match="wrong arguments"):
        qt.QLabel(1, 2, 3)
    with pytest.raises(ValueError, match="wrong arguments"):
        qt.QWidget().resize("wide")
    with pytest.raises(ValueError, match="wrong arguments"):
        slicer.qMRMLNodeComboBox().setMRMLScene()


def test_inheritance_of_qt_is_not_seen_by_isinstance():
    assert not isinstance(qt.QLabel(), qt.QWidget)
    assert isinstance(qt.QLabel(), qt.QLabel)
    assert qt.QLabel().inherits("QWidget")
    assert qt.QLabel().className() == "QLabel"


def test_enums_are_integers():
    assert qt.QMessageBox.Ok == qt.QMessageBox.StandardButton.Ok == 1024
    assert type(qt.Qt.AlignLeft | qt.Qt.AlignTop) is int
    label = qt.QLabel()
    label.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignTop)
    assert label.alignment == qt.Qt.AlignRight | qt.Qt.AlignTop
    item = qt.QTableWidgetItem()
    item.setFlags(item.flags() & ~qt.Qt.ItemIsEditable)
    assert not item.flags() & qt.Qt.ItemIsEditable
    assert not hasattr(qt.Qt.AlignLeft, "value")


def test_names_of_pyside_are_not_there():
    for name in ("Slot", "Property", "SIGNAL"):
        assert not hasattr(qt, name)
    with pytest.raises(ImportError):
        from qt import QtWidgets  # noqa: F401


def test_dynamic_properties_and_children_are_attributes():
    parent = qt.QWidget()
    parent.setProperty("role", 3)
    assert parent.role == 3
    assert parent.property("nothing") is None
    child = qt.QLabel("x", parent)
    child.objectName = "title"
    assert parent.title is child
    assert child.name == "title"


def test_one_object_has_one_wrapper_and_dies_with_it():
    layout = qt.QVBoxLayout()
    parent = qt.QWidget()
    parent.setLayout(layout)
    assert parent.layout() is layout
    button = qt.QPushButton()
    button.delete()
    assert not button
    with pytest.raises(ValueError, match="destroyed"):
        button.text  # noqa: B018


def test_a_local_timer_never_fires():
    fired = []

    def start():
        timer = qt.QTimer()
        timer.connect("timeout()", lambda: fired.append("local"))
        timer.start(0)

    start()
    kept = qt.QTimer()
    kept.connect("timeout()", lambda: fired.append("kept"))
    kept.setSingleShot(True)
    kept.start(0)
    slicer.app.processEvents()
    assert fired == ["kept"]


def test_real_mrml_has_real_methods_only():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    with pytest.raises(AttributeError):
        node.GetSegmentByName("x")
    with pytest.raises(TypeError):
        slicer.qMRMLNodeComboBox().setCurrentNode("vtkMRMLScalarVolumeNode1")
    with pytest.raises(AttributeError):
        slicer.arrayFromVolume  # noqa: B018
