"""A whole scripted module in the stand-in: panel, parameter node, child process, results, scene close, reload."""

import sys
import time

import numpy as np
import pytest
import qt
import slicer


def wait_for(condition, seconds=30.0):
    """Let the application run until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        slicer.app.processEvents()
        time.sleep(0.005)


@pytest.fixture
def panel():
    slicer.util.selectModule("DemoModule")
    return slicer.modules.DemoModuleWidget


def test_the_module_is_known(panel):
    module = slicer.modules.demomodule
    assert (module.title, module.categories, module.name) == ("Demo", ("Segmentation",), "DemoModule")
    assert slicer.util.getModuleWidget("DemoModule") is panel
    assert slicer.util.selectedModule() == "DemoModule"
    assert panel.parent.isEntered
    slicer.util.selectModule("")
    assert not panel.parent.isEntered


def test_apply_says_what_is_missing(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose a volume"
    volume = panel.logic.makeBall("ball")
    assert panel.ui.inputSelector.currentNode() is None
    panel.ui.inputSelector.setCurrentNode(volume)
    assert panel.ui.applyButton.enabled
    assert panel.logic.getParameterNode().inputVolume is volume


def test_a_run_from_volume_to_segmentation_table_and_chart(panel, tmp_path):
    volume = panel.logic.makeBall("ball")
    panel.ui.inputSelector.setCurrentNode(volume)
    panel.ui.thresholdSlider.value = 40
    panel.ui.applyButton.click()
    assert panel.logic.running
    assert panel.ui.cancelButton.enabled
    wait_for(lambda: not panel.logic.running)
    segmentation = panel.ui.outputSelector.currentNode()
    inside = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", volume)
    assert np.array_equal(inside > 0, slicer.util.arrayFromVolume(volume) > 40)
    assert panel.ui.progressBar.value == 100
    assert panel.ui.segmentsTable.segmentCount == 1
    table = slicer.util.getNode("Demo volumes")
    assert slicer.util.arrayFromTableColumn(table, "ml")[0] == pytest.approx(inside.sum() * 2 / 1000)
    assert slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert slicer.app.layoutManager().plotViewCount == 1
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemOwnerPluginName(hierarchy.GetItemByDataNode(segmentation)) == "Segmentations"
    slicer.util.mainWindow().resize(420, 720)
    slicer.util.mainWindow().show()
    slicer.app.processEvents()
    picture = panel.parent.grab()
    assert picture.save(str(tmp_path / "panel.png"))
    assert picture.width() > 300
    slicer.util.mainWindow().hide()


def test_cancel_ends_the_child(panel):
    panel.ui.inputSelector.setCurrentNode(panel.logic.makeBall("ball"))
    panel.ui.epochsBox.value = 20
    panel.ui.applyButton.click()
    wait_for(lambda: "metric" in panel.ui.logText.plainText)
    panel.ui.cancelButton.click()
    wait_for(lambda: not panel.logic.running)
    assert "ended 3" in panel.ui.logText.plainText
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert panel.ui.applyButton.enabled


def test_the_scene_may_be_closed_while_the_child_runs(panel):
    panel.ui.inputSelector.setCurrentNode(panel.logic.makeBall("ball"))
    panel.ui.applyButton.click()
    slicer.mrmlScene.Clear(0)
    assert panel.ui.inputSelector.currentNode() is None
    wait_for(lambda: not panel.logic.running)
    assert not panel.ui.applyButton.enabled
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_choices_come_back_with_the_scene(panel, tmp_path):
    panel.ui.inputSelector.setCurrentNode(panel.logic.makeBall("ball"))
    panel.ui.titleEdit.text = "Kůra"
    panel.ui.epochsBox.value = 7
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert panel.ui.epochsBox.value == 5
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    slicer.util.selectModule("")
    slicer.util.selectModule("DemoModule")
    assert (panel.ui.titleEdit.text, panel.ui.epochsBox.value) == ("Kůra", 7)
    assert panel.ui.inputSelector.currentNode().GetName() == "ball"


def test_reload_makes_a_new_widget_that_is_not_entered_anew(panel):
    slicer.util.reloadScriptedModule("DemoModule")
    new = slicer.modules.DemoModuleWidget
    assert new is not panel
    assert new.parent.isEntered
    panel.ui.applyButton.enabled = False
    new.ui.inputSelector.setCurrentNode(new.logic.makeBall("ball"))
    assert new.ui.applyButton.enabled


def test_an_error_of_the_logic_is_raised_again_in_testing_mode(panel):
    parameters = panel.logic.getParameterNode()
    with pytest.raises(ValueError, match="Choose a volume"), slicer.util.tryWithErrorDisplay("Failed", waitCursor=True):
        panel.logic.start(parameters)
    assert qt.QApplication.overrideCursor() is None


def test_the_self_test_runs():
    slicer.selfTests["DemoModule"]()


def test_sample_data_is_registered_and_made_on_the_spot():
    import SampleData

    logic = SampleData.SampleDataLogic()
    source = logic.sourceForSampleName("DemoBall")
    assert source.customDownloader(source)[0].GetName() == "DemoBall"
    assert logic.downloadFromSource(source) == []  # which knows files only, as the real one


def test_a_child_process_talks_through_its_pipes():
    process, seen = qt.QProcess(), []
    process.finished.connect(lambda *arguments: seen.append(len(arguments)))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: seen.append((code, int(status))))
    process.start(sys.executable, ["-c", "import sys; print(sys.stdin.read().upper()); sys.exit(5)"])
    process.write("abc")
    process.write(b"def")
    process.closeWriteChannel()
    wait_for(lambda: process.state() == qt.QProcess.NotRunning)
    assert process.readAllStandardOutput().data().decode().strip() == "ABCDEF"
    assert seen == [1, (5, 0)]


def test_a_child_that_cannot_start_says_so():
    process, seen = qt.QProcess(), []
    process.connect("errorOccurred(QProcess::ProcessError)", lambda error: seen.append(int(error)))
    process.start("/no/such/program", [])
    wait_for(lambda: seen)
    assert seen == [qt.QProcess.FailedToStart]
