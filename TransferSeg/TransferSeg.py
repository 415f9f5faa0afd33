"""The Slicer module TransferSeg: segment, fine-tune on loaded cases, manage models.

From the Python console::

    from TransferSeg import TransferSegLogic
    volumes = {channel: getNode(f"TransferSegSample {channel}") for channel in ("t1", "t1c", "t2", "flair")}
    segmentation = TransferSegLogic().segment(volumes, model="glioma-fast")
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# In the source tree the library stands beside the module's folder; once installed, beside this file.
for folder in (Path(__file__).resolve().parent, Path(__file__).resolve().parent.parent):
    if (folder / "TransferSegLib").is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))

from TransferSegBridge.comparing import ComparisonJob, ComparisonResult  # noqa: E402
from TransferSegBridge.finetune_panel import FinetunePanel  # noqa: E402
from TransferSegBridge.finetuning import FinetuneJob, FinetuneRequest, FinetuneResult  # noqa: E402
from TransferSegBridge.models_panel import ModelsPanel  # noqa: E402
from TransferSegBridge.packages import install, status  # noqa: E402
from TransferSegBridge.parameters import TransferSegParameterNode  # noqa: E402
from TransferSegBridge.sample import NAME as SAMPLE  # noqa: E402
from TransferSegBridge.sample import makeSample  # noqa: E402
from TransferSegBridge.segment_panel import SegmentPanel  # noqa: E402
from TransferSegBridge.segmenting import SegmentJob, SegmentRequest  # noqa: E402
from TransferSegBridge.worker import Worker  # noqa: E402

TABS = ("segment", "finetune", "models")


class TransferSeg(ScriptedLoadableModule):
    """What the application shows of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("TransferSeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["TransferSeg developers"]
        self.parent.helpText = _(
            "Segment brain MRI with a small 3D U-Net, and adapt it to your own disease with few annotated cases, on "
            "this computer. See the <a href='{link}'>tutorial</a>. For research only, not for the care of patients."
        ).format(link="https://github.com/TransferSeg/SlicerTransferSeg/blob/main/Docs/tutorial.md")
        self.parent.acknowledgementText = _(
            "After Kaur et al., Improving Pathological Structure Segmentation via Transfer Learning Across Diseases, "
            "2019, doi:10.1007/978-3-030-33391-1_11."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", loadTerminology)


def loadTerminology() -> None:
    """Let Slicer's terminology selector offer our classes."""
    path = Path(__file__).parent / "Resources" / "TransferSeg.term.json"
    slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(path))


def registerSampleData() -> None:
    """Offer the sample case in the Sample Data module."""
    import SampleData

    thumbnail = Path(__file__).parent / "Resources" / "Icons" / "TransferSeg.png"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="TransferSeg",
        sampleName=SAMPLE,
        uris=[],
        fileNames=[],
        customDownloader=makeSample,
        thumbnailFileName=str(thumbnail),
    )


class TransferSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel: a line about packages, and a tab for each task."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: TransferSegLogic | None = None
        self._parameterNode: TransferSegParameterNode | None = None

    def setup(self) -> None:
        """Make the widgets; once."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = TransferSegLogic()
        frame = self._load("TransferSeg")
        self.layout.addWidget(frame)
        self.ui = slicer.util.childWidgetVariables(frame)
        frame.setMRMLScene(slicer.mrmlScene)
        self.segmentPanel = SegmentPanel(
            self._panel("SegmentPanel", self.ui.segmentTab), lambda: self.finetunePanel.busy, self.update
        )
        self.finetunePanel = FinetunePanel(
            self._panel("FinetunePanel", self.ui.finetuneTab),
            self.refreshModels,
            lambda: self.segmentPanel.busy,
            self.update,
        )
        self.modelsPanel = ModelsPanel(self._panel("ModelsPanel", self.ui.modelsTab), self.refreshModels)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)
        for changed in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent, scene.EndUndoEvent):
            self.addObserver(scene, changed, self.onSceneChanged)
        self.ui.packagesButton.connect("clicked(bool)", self.onInstall)
        self.ui.tabs.connect("currentChanged(int)", self.onTab)
        self.showPackages()
        self.setParameterNode(self.logic.getParameterNode())

    def cleanup(self) -> None:
        """The module is unloaded or reloaded: nothing is left behind."""
        for panel in (self.segmentPanel, self.finetunePanel, self.modelsPanel):
            panel.close()
        Worker.stopAll()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """The module is shown."""
        self.showPackages()
        self.setParameterNode(self.logic.getParameterNode())
        self.segmentPanel.enter()
        self.finetunePanel.refreshRuns()

    def exit(self) -> None:
        """Another module is shown. What runs goes on."""

    def onSceneStartClose(self, caller: Any, event: str) -> None:
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: str) -> None:
        if not slicer.mrmlScene.IsClosing():
            self.setParameterNode(self.logic.getParameterNode())

    def onSceneChanged(self, caller: Any, event: str) -> None:
        """A node came or went: what can be done may have changed."""
        if not (slicer.mrmlScene.IsBatchProcessing() or slicer.mrmlScene.IsClosing()):
            self.update()

    def setParameterNode(self, node: TransferSegParameterNode | None) -> None:
        """Bind the panels to another parameter node, or to none."""
        if self._parameterNode is not None:
            self.removeObservers(self.update)
        self._parameterNode = node
        for panel in (self.segmentPanel, self.finetunePanel):
            panel.setParameterNode(node)
        if node is not None:
            raw = node.parameterNode
            # Undo and the loading of a scene change the references too.
            for changed in (
                "ModifiedEvent",
                raw.ReferenceAddedEvent,
                raw.ReferenceModifiedEvent,
                raw.ReferenceRemovedEvent,
            ):
                self.addObserver(raw, changed, self.update)
            self.update()

    def update(self, caller: Any = None, event: str = "") -> None:
        """Show what the parameter node has."""
        node = self._parameterNode
        if node is None:
            return
        index = TABS.index(node.tab) if node.tab in TABS else 0
        if self.ui.tabs.currentIndex != index:
            self.ui.tabs.setCurrentIndex(index)
        self.segmentPanel.update()
        self.finetunePanel.update()

    def onTab(self, index: int) -> None:
        if self._parameterNode is not None:
            self._parameterNode.tab = TABS[index]

    def onInstall(self, checked: bool = False) -> None:
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed."), waitCursor=True):
            try:
                install()
            finally:
                self.showPackages()
                self.refreshModels()

    def showPackages(self) -> None:
        """Say what is missing, if anything is."""
        found = status()
        self.ui.packagesFrame.visible = not found.ready
        self.ui.packagesLabel.text = found.text
        self.ui.packagesButton.text = found.action
        self.ui.packagesButton.visible = bool(found.action)

    def refreshModels(self) -> None:
        """A model was added, renamed or deleted; or a package was installed."""
        for panel in (self.segmentPanel, self.finetunePanel, self.modelsPanel):
            panel.refreshModels()

    def _load(self, name: str) -> Any:
        return slicer.util.loadUI(self.resourcePath(f"UI/{name}.ui"))

    def _panel(self, name: str, tab: Any) -> Any:
        widget = self._load(name)
        tab.layout().addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        return widget


class TransferSegLogic(ScriptedLoadableModuleLogic):
    """For scripts: everything the panels do, without a dialog.

    >>> logic = TransferSegLogic()                                                        # doctest: +SKIP
    >>> segmentation = logic.segment({"t1": t1, "t1c": t1c, "t2": t2, "flair": flair}, "glioma")  # doctest: +SKIP
    """

    def getParameterNode(self) -> TransferSegParameterNode:
        """The choices of the panels, in the scene."""
        node = ScriptedLoadableModuleLogic.getParameterNode(self)
        # Deleting a volume takes it out of the choices; undoing that brings both back.
        node.UndoEnabledOn()
        return TransferSegParameterNode(node)

    def segment(self, volumes: Mapping[str, Any], model: str, segmentation: Any = None, **options: Any) -> Any:
        """Segment, and wait for it.

        Parameters
        ----------
        volumes : channel to volume node.
        model : name of a shipped or installed model, a folder or a zip.
        segmentation : node that receives the result; None: a new one.
        options : further fields of :class:`SegmentRequest`.

        Returns
        -------
        The segmentation node.

        Raises
        ------
        TransferSegError : something is missing or wrong; says what, and what to do.
        """
        job = SegmentJob(SegmentRequest(volumes, model, segmentation, **options))
        job.start()
        return job.wait().segmentation

    def finetune(self, request: FinetuneRequest) -> FinetuneResult:
        """Fine-tune on annotated cases, and wait for it.

        Raises
        ------
        TransferSegError : something is missing or wrong; says what, and what to do.
        """
        job = FinetuneJob(request)
        job.start()
        return job.wait()

    def compare(self, request: FinetuneRequest) -> ComparisonResult:
        """Compare the strategies on annotated cases by cross-validation, and wait for it.

        Parameters
        ----------
        request : its strategy and name do not matter.

        Raises
        ------
        TransferSegError : something is missing or wrong; says what, and what to do.
        """
        job = ComparisonJob(request)
        job.start()
        return job.wait()

    def loadSample(self) -> Sequence[Any]:
        """The nodes of the sample case: four volumes, and a segmentation with the exact labels."""
        return makeSample()


class TransferSegTest(ScriptedLoadableModuleTest):
    """What can be tested without PyTorch; ``Testing/Slicer`` holds the rest."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        self.setUp()
        self.test_panels_open_and_say_what_is_missing()
        self.test_choices_are_kept_in_the_scene()

    def test_panels_open_and_say_what_is_missing(self) -> None:
        slicer.util.selectModule("TransferSeg")
        widget = slicer.modules.TransferSegWidget
        assert not widget.segmentPanel.ui.segmentButton.enabled
        assert widget.segmentPanel.ui.segmentButton.toolTip
        assert widget.finetunePanel.ui.finetuneButton.toolTip

    def test_choices_are_kept_in_the_scene(self) -> None:
        node = TransferSegLogic().getParameterNode()
        node.epochs = 7
        assert TransferSegLogic().getParameterNode().epochs == 7
