"""Parameter nodes: the texts of a real Slicer, its checks, its bindings."""

import enum
import pathlib
from typing import Annotated

import ctk
import numpy as np
import pytest
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, isParameterNodeWrapper, parameterNodeWrapper


class Device(enum.Enum):
    AUTO = "auto"
    CPU = "cpu"


@parameterNodeWrapper
class Parameters:
    epochs: Annotated[int, WithinRange(1, 100)] = 20
    spacing: Annotated[float, WithinRange(0.5, 4.0)] = 1.0
    scratch: bool
    name: str = "model"
    device: Device
    strategy: Annotated[str, Choice(["all", "decoder"]), Default("all")]
    folder: pathlib.Path
    volume: vtkMRMLScalarVolumeNode
    cases: list[str]
    volumes: list[vtkMRMLScalarVolumeNode]


@pytest.fixture
def raw():
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


@pytest.fixture
def parameters(raw):
    return Parameters(raw)


def test_defaults(parameters, raw):
    assert isParameterNodeWrapper(parameters)
    assert parameters.parameterNode is raw
    values = (parameters.epochs, parameters.scratch, parameters.device, parameters.strategy, parameters.volume)
    assert values == (20, False, Device.AUTO, "all", None)
    assert parameters.folder == pathlib.Path()
    assert parameters.cases == []


def test_values_are_kept_as_a_real_slicer_keeps_them(parameters, raw):
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.scratch, parameters.device, parameters.volume = True, Device.CPU, volume
    parameters.cases = ["a", "b"]
    parameters.cases.append("c")
    parameters.volumes = [volume]
    texts = {name: raw.GetParameter(name) for name in ("epochs", "scratch", "device", "cases.len", "cases.2", "volume")}
    assert texts == {
        "epochs": "20",
        "scratch": "True",
        "device": "CPU",
        "cases.len": "3",
        "cases.2": "c",
        "volume": "",
    }
    assert raw.GetNodeReference("volume") is volume
    assert raw.GetNodeReference("volumes.0") is volume
    assert Parameters(raw).cases == ["a", "b", "c"]
    slicer.mrmlScene.RemoveNode(volume)
    assert parameters.volume is None


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("epochs", "5", TypeError),
        ("epochs", 5.5, TypeError),
        ("epochs", np.int64(5), TypeError),
        ("epochs", 101, ValueError),
        ("scratch", 1, TypeError),
        ("name", None, ValueError),
        ("device", "CPU", TypeError),
        ("strategy", "none", ValueError),
    ],
)
def test_wrong_values_are_refused(parameters, name, value, error):
    with pytest.raises(error):
        setattr(parameters, name, value)


def test_a_node_of_another_class_is_refused(parameters):
    with pytest.raises(TypeError):
        parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")


def test_types_that_the_stand_in_does_not_know_are_refused():
    class Wrong:
        mapping: dict[str, int]

    with pytest.raises(TypeError, match="keeps no dict"):
        parameterNodeWrapper(Wrong)


def test_one_change_is_one_event_and_no_change_is_none(parameters, raw):
    events = []
    raw.AddObserver("ModifiedEvent", lambda caller, event: events.append(caller))
    parameters.cases = ["a", "b", "c"]
    assert events == [raw]
    parameters.cases = ["a", "b", "c"]
    parameters.epochs = 20
    assert events == [raw]
    with slicer.util.NodeModify(parameters):
        parameters.epochs = 3
        parameters.name = "x"
    assert events == [raw, raw]


def panel():
    widgets = {
        "epochs": qt.QSpinBox(),
        "spacing": ctk.ctkSliderWidget(),
        "scratch": qt.QCheckBox(),
        "name": qt.QLineEdit(),
        "device": qt.QComboBox(),
        "folder": ctk.ctkPathLineEdit(),
        "volume": slicer.qMRMLNodeComboBox(),
    }
    widgets["volume"].nodeTypes = ["vtkMRMLScalarVolumeNode"]
    widgets["volume"].setMRMLScene(slicer.mrmlScene)
    root = qt.QWidget()
    layout = qt.QVBoxLayout(root)
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
        layout.addWidget(widget)
    return root, widgets


def test_widgets_and_values_follow_each_other(parameters):
    root, widgets = panel()
    tag = parameters.connectGui(root)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert (widgets["epochs"].value, widgets["epochs"].maximum, widgets["device"].count) == (20, 100, 2)
    widgets["epochs"].value = 7
    widgets["device"].currentIndex = 1
    widgets["folder"].currentPath = "/data"
    widgets["volume"].setCurrentNode(volume)
    assert (parameters.epochs, parameters.device, parameters.volume) == (7, Device.CPU, volume)
    assert parameters.folder == pathlib.Path("/data")
    parameters.spacing = 2.0
    parameters.scratch = True
    assert widgets["spacing"].value == 2.0
    assert widgets["scratch"].checked is True
    parameters.disconnectGui(tag)
    widgets["epochs"].value = 9
    assert parameters.epochs == 7


def test_a_widget_that_rounds_does_not_change_the_value(parameters):
    root, widgets = panel()
    parameters.connectGui(root)
    parameters.spacing = 1.2345
    assert widgets["spacing"].value == pytest.approx(1.23)
    assert parameters.spacing == 1.2345


def test_a_widget_without_connector_is_refused(parameters):
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters.connectParametersToGui({"name": qt.QPlainTextEdit()})
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.connectParametersToGui({"nmae": qt.QLineEdit()})
