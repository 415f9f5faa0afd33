"""The result of a patient is not overwritten by that of the next one."""

import pytest
import slicer
from scenes import CHANNELS, addPatient, addSegmentation, openModule, waitFor
from TransferSegBridge.parameters import channelNode, setChannelNode


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSEG_HOME", str(tmp_path))


@pytest.fixture
def widget():
    return openModule()


@pytest.fixture
def parameters(widget):
    return widget.logic.getParameterNode()


def choose(parameters, nodes):
    for channel, node in nodes.items():
        setChannelNode(parameters, channel, node)


@pytest.fixture
def result(parameters):
    nodes = addPatient("A")
    choose(parameters, nodes)
    parameters.outputSegmentation = addSegmentation("A result", nodes["flair"])
    return parameters.outputSegmentation


def chooseByHand(widget, nodes):
    for channel, node in nodes.items():
        widget.segmentPanel._selectors[channel].setCurrentNode(node)
        widget.segmentPanel._volumeChosen(channel, node)


def test_result_is_let_go_when_another_patient_is_chosen(widget, parameters, result):
    chooseByHand(widget, addPatient("B"))
    assert parameters.outputSegmentation is None
    assert widget.segmentPanel.ui.outputSelector.currentNode() is None


def test_result_is_let_go_when_another_patient_is_found_by_name(widget, parameters, result):
    nodes = addPatient("B")
    choose(parameters, dict.fromkeys(CHANNELS))
    for channel in CHANNELS:
        slicer.mrmlScene.RemoveNode(slicer.util.getNode(f"A_{channel}"))
    result.SetReferenceImageGeometryParameterFromVolumeNode(addPatient("C")["flair"])
    setChannelNode(parameters, "t1", nodes["t1"])
    widget.segmentPanel.ui.fillButton.click()
    assert parameters.outputSegmentation is None


def test_result_stays_with_its_own_patient(widget, parameters, result):
    chooseByHand(widget, {"t1": addPatient("A again")["t1"]})
    assert parameters.outputSegmentation is result


def test_result_stays_while_its_own_patient_is_chosen_anew(widget, parameters, result):
    own = {channel: channelNode(parameters, channel) for channel in CHANNELS}
    choose(parameters, dict.fromkeys(CHANNELS))
    chooseByHand(widget, own)
    assert parameters.outputSegmentation is result


def test_result_that_the_user_picks_afterwards_stays(widget, parameters, result):
    nodes = addPatient("B")
    chooseByHand(widget, nodes)
    widget.segmentPanel.ui.outputSelector.setCurrentNode(result)
    widget.segmentPanel._outputChosen(result)
    widget.segmentPanel.update()
    assert parameters.outputSegmentation is result


def test_segmentation_that_was_drawn_on_nothing_stays(widget, parameters, result):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "new")
    parameters.outputSegmentation = empty
    chooseByHand(widget, addPatient("B"))
    assert parameters.outputSegmentation is empty


def test_result_that_comes_when_another_patient_is_chosen_is_not_the_target(widget, parameters, tmp_path):
    from hand_model import threshold_model

    from TransferSegLib.model import save_model

    path = save_model(threshold_model(channels=CHANNELS, level=725.0), tmp_path / "m")
    parameters.model = widget.modelsPanel.importModel(str(path))
    choose(parameters, addPatient("A"))
    widget.segmentPanel.ui.segmentButton.click()
    chooseByHand(widget, addPatient("B"))
    waitFor(lambda: not widget.segmentPanel.job.running)
    assert widget.segmentPanel.job.result.segmentation is not None
    assert parameters.outputSegmentation is None
