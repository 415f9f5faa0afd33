# ruff: noqa: N802, N803, N806, N815
"""A small scripted module that does what the real one does: panel, parameter node, child process, results in nodes."""

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

WORKER = Path(__file__).parent / "DemoModuleLib" / "worker.py"


class DemoModule(ScriptedLoadableModule):
    """What the application shows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Demo")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.contributors = ["TransferSeg"]
        self.parent.helpText = _("Segments by a threshold, in a child process.")
        self.parent.acknowledgementText = _("For tests only.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """A ball, made on the spot."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Demo",
        sampleName="DemoBall",
        uris=[],
        fileNames=[],
        customDownloader=lambda _source: [DemoModuleLogic.makeBall("DemoBall")],
    )


@parameterNodeWrapper
class DemoModuleParameterNode:
    """All choices of the panel."""

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    threshold: Annotated[float, WithinRange(0, 100)] = 50.0
    epochs: Annotated[int, WithinRange(1, 20), Default(5)]
    showSurface: bool = False
    title: str = "ball"


class DemoModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DemoModule.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = DemoModuleLogic()
        self.logic.onEvent = self.onEvent
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.cancelButton.connect("clicked(bool)", lambda _checked: self.logic.cancel())
        self.setParameterNode(self.logic.getParameterNode())

    def cleanup(self):
        self.logic.cancel()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        self.setParameterNode(self.logic.getParameterNode())

    def exit(self):
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, node):
        """Bind the panel to another parameter node, or to none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.updateButtons)
        self._parameterNode = node
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.updateButtons)
        self.updateButtons()

    def updateButtons(self, caller=None, event=None):
        """Apply says what is missing."""
        node = self._parameterNode
        ready = node is not None and node.inputVolume is not None
        self.ui.applyButton.enabled = ready and not self.logic.running
        self.ui.applyButton.toolTip = _("Segment") if ready else _("Choose a volume")
        self.ui.cancelButton.enabled = self.logic.running

    def onApplyButton(self):
        self.ui.logText.clear()
        with slicer.util.tryWithErrorDisplay(_("Failed to segment."), waitCursor=True):
            self.logic.start(self._parameterNode)
        self.updateButtons()

    def onEvent(self, event):
        """Show an event of the child."""
        self.ui.logText.appendPlainText(" ".join(str(value) for value in event.values()))
        if event["event"] == "progress":
            self.ui.progressBar.setValue(round(100 * event["step"] / event["of"]))
        if event["event"] == "result":
            segmentation = slicer.mrmlScene.GetNodeByID(event["segmentation"])
            self._parameterNode.outputSegmentation = segmentation
            self.ui.segmentsTable.setSegmentationNode(segmentation)
        self.updateButtons()


class DemoModuleLogic(ScriptedLoadableModuleLogic):
    """Runs the child and takes its result in; opens no dialog."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.onEvent = lambda event: None
        self.process = None
        self.running = False

    def getParameterNode(self):
        return DemoModuleParameterNode(super().getParameterNode())

    @staticmethod
    def makeBall(name):
        """A bright ball in a dark volume."""
        k, j, i = np.mgrid[:20, :24, :28]
        ball = ((k - 10) ** 2 + (j - 12) ** 2 + (i - 14) ** 2 < 36) * 90.0 + 5
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetSpacing(1.0, 1.0, 2.0)
        slicer.util.updateVolumeFromArray(node, ball.astype("float32"))
        return node

    def start(self, parameters):
        """Start the child; the GUI stays free."""
        if parameters.inputVolume is None:
            raise ValueError(_("Choose a volume"))
        self.volumeID = parameters.inputVolume.GetID()
        self.segmentationID = parameters.outputSegmentation.GetID() if parameters.outputSegmentation else ""
        self.losses = []
        self.folder = Path(slicer.util.tempDirectory())
        np.save(self.folder / "in.npy", slicer.util.arrayFromVolume(parameters.inputVolume))
        self.process = qt.QProcess()
        self.process.connect("readyReadStandardOutput()", self.onOutput)
        self.process.connect("finished(int,QProcess::ExitStatus)", self.onFinished)
        self.running = True
        arguments = [str(WORKER), str(self.folder), str(parameters.threshold), str(parameters.epochs)]
        self.process.start(sys.executable, arguments)

    def cancel(self):
        """Ask the child to stop: it ends when its standard input is closed."""
        if self.running:
            self.process.closeWriteChannel()

    def onOutput(self):
        while self.process.canReadLine():
            event = json.loads(self.process.readLine().data().decode("ascii"))
            if event["event"] == "metric":
                self.losses.append((event["epoch"], event["loss"]))
            self.onEvent(event)

    def onFinished(self, exitCode, exitStatus):
        self.running = False
        volume = slicer.mrmlScene.GetNodeByID(self.volumeID)
        if exitCode == 0 and exitStatus == qt.QProcess.NormalExit and volume is not None:
            segmentation = self.takeIn(volume, np.load(self.folder / "out.npy"))
            self.onEvent({"event": "result", "segmentation": segmentation.GetID()})
        else:
            self.onEvent({"event": "ended", "code": exitCode})

    def takeIn(self, volume, labels):
        """The child's labels as a segmentation, its volumes as a table, its losses as a chart."""
        segmentation = slicer.mrmlScene.GetNodeByID(self.segmentationID) if self.segmentationID else None
        if segmentation is None:
            segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Demo segmentation")
            segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentID = segmentation.GetSegmentation().AddEmptySegment("ball", "ball", [1.0, 0.5, 0.0])
        slicer.util.updateSegmentBinaryLabelmapFromArray(labels, segmentation, segmentID, volume)
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Demo volumes")
        slicer.util.updateTableFromArray(
            table, [np.array([labels.sum() * np.prod(volume.GetSpacing()) / 1000])], ["ml"]
        )
        chart = slicer.util.plot(
            np.array(self.losses, float), 0, columnNames=["epoch", "loss"], title="Demo", show=False
        )
        slicer.modules.plots.logic().ShowChartInLayout(chart)
        return segmentation


class DemoModuleTest(ScriptedLoadableModuleTest):
    """The self-test."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def test_ball(self):
        assert DemoModuleLogic.makeBall("ball").GetImageData() is not None
        self.delayDisplay("Test passed")
