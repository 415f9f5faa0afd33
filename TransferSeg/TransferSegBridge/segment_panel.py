"""The panel that segments: model, volumes, result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TransferSegLib.errors import TransferSegError
from TransferSegLib.preparation import BRAIN_METHODS

from .channels import DRAWN_ON, fillChannels
from .combos import fillDevices, select
from .model_picker import ModelPicker, firstChoice, needsOf
from .packages import status
from .parameters import TransferSegParameterNode, channelNode, chosenChannels, modifying, setChannelNode
from .run_view import RunView
from .sample import SampleJob
from .segmenting import SegmentJob, SegmentRequest, SegmentResult


class SegmentPanel:
    """Connects its widgets with the parameter node, and starts the work.

    Parameters
    ----------
    widget : the loaded ``SegmentPanel.ui``.
    busyElsewhere : why nothing can be segmented now, in a sentence; empty: it can.
    onBusyChanged : is called when something has started or ended.
    """

    def __init__(self, widget: Any, busyElsewhere: Callable[[], str], onBusyChanged: Callable[[], None]) -> None:
        self.widget = widget
        self.ui = ui = slicer.util.childWidgetVariables(widget)
        self.job: SegmentJob | None = None
        self._sampleJob: SampleJob | None = None
        self._busyElsewhere = busyElsewhere
        self._parameters: TransferSegParameterNode | None = None
        self._guiTag: int | None = None
        self._selectors: dict[str, Any] = {}
        self._shownModel: str | None = None
        self.picker = ModelPicker(ui.modelFrame, self._modelChosen)
        self.view = RunView(
            ui.segmentButton,
            ui.segmentProgress,
            ui.segmentStatus,
            ui.segmentLog,
            ui.segmentLogGroup,
            _("Segment"),
            _("Cancel"),
            onBusyChanged,
        )
        fillDevices(ui.deviceCombo)
        ui.brainCombo.addItem(_("as the model does"), "")
        for method, about in BRAIN_METHODS.items():
            ui.brainCombo.addItem(f"{method}: {about}", method)
        ui.brainCombo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        ui.brainCombo.setMinimumContentsLength(18)
        ui.deviceCombo.connect("currentIndexChanged(int)", self._deviceChosen)
        ui.brainCombo.connect("currentIndexChanged(int)", self._brainChosen)
        ui.outputSelector.connect("nodeActivated(vtkMRMLNode*)", self._outputChosen)
        ui.fillButton.connect("clicked(bool)", self._fill)
        ui.sampleButton.connect("clicked(bool)", self.loadSample)
        ui.segmentButton.connect("clicked(bool)", self._clicked)
        self._sampleTip = ui.sampleButton.toolTip
        self._makeSelectors([])

    def setParameterNode(self, parameters: TransferSegParameterNode | None) -> None:
        """Show the choices of another parameter node, or of none."""
        if self._parameters is not None and self._guiTag is not None:
            self._parameters.disconnectGui(self._guiTag)
        self._parameters, self._guiTag = parameters, None
        if parameters is None:
            return
        self._guiTag = parameters.connectGui(self.ui)
        if not parameters.model:
            parameters.model = firstChoice("glioma-fast", "glioma")
        self.update()

    def update(self) -> None:
        """Show what the parameter node has, and whether the work can start."""
        parameters = self._parameters
        if parameters is None:
            return
        if parameters.model != self.picker.name:
            self.picker.select(parameters.model)
        if self._shownModel != parameters.model:
            self._shownModel = parameters.model
            self._makeSelectors(list(needsOf(self.picker.entry).channels))
        chosen = {selector: channelNode(parameters, channel) for channel, selector in self._selectors.items()}
        for selector, node in {**chosen, self.ui.outputSelector: parameters.outputSegmentation}.items():
            if selector.currentNode() is not node:
                was = selector.blockSignals(True)
                selector.setCurrentNode(node)
                selector.blockSignals(was)
        select(self.ui.deviceCombo, parameters.device)
        select(self.ui.brainCombo, parameters.brain)
        if self.ui.volumesTableView.mrmlTableNode() is not parameters.volumesTable:
            self.ui.volumesTableView.setMRMLTableNode(parameters.volumesTable)
        self.ui.sampleButton.enabled = not self.busy
        self.ui.sampleButton.toolTip = self.busy or self._sampleTip
        if not self.view.running:
            problem = self.problem()
            self.ui.segmentButton.enabled = not problem
            self.ui.segmentButton.toolTip = problem or _("Segment the volumes with the chosen model.")

    def problem(self) -> str:
        """Why the work cannot start, in a sentence; empty when it can."""
        entry = self.picker.entry
        if entry is not None and entry.problem is not None:
            return entry.problem
        problem = self._busyElsewhere() or self._request().problem(list(self._selectors))
        return problem or ("" if status().ready else status().text)

    @property
    def busy(self) -> str:
        """Why nothing else can be started meanwhile, in a sentence; empty: it can."""
        return _("Wait until the tab Segment has ended its work, or cancel that.") if self.view.running else ""

    def refreshModels(self) -> None:
        """A model was added, renamed or deleted; or a package was installed."""
        self.picker.refresh()
        self._shownModel = None
        self.update()

    def loadSample(self, checked: bool = False) -> None:
        """Make the sample patient, load it and choose its volumes. Not while something runs."""
        if self.busy:
            self.view.say(self.busy)
            return
        with slicer.util.tryWithErrorDisplay(_("The sample could not be made.")):
            self._sampleJob = SampleJob(self.view.event, self._sampleLoaded)
            self.view.begin(_("Making a simulated patient..."))
            try:
                self._sampleJob.start()
            except TransferSegError as error:
                self._sampleJob = None
                self.view.end(str(error))
                raise

    def close(self) -> None:
        """Stop what runs; the panel goes away."""
        for job in (self.job, self._sampleJob):
            if job is not None and job.running:
                job.stop()
        self.view.close()
        self.setParameterNode(None)

    def _request(self) -> SegmentRequest:
        assert self._parameters is not None
        parameters = self._parameters
        volumes = chosenChannels(parameters, list(self._selectors))
        return SegmentRequest(
            volumes,
            parameters.model,
            parameters.outputSegmentation,
            parameters.device,
            parameters.brain,
            parameters.mirror,
        )

    def _makeSelectors(self, channels: list[str]) -> None:
        """A selector for each channel that the model needs."""
        if list(self._selectors) == channels:
            return
        layout = self.ui.channelsFrame.layout()
        while layout.rowCount():
            layout.removeRow(0)
        self._selectors = {}
        for channel in channels:
            selector = slicer.qMRMLNodeComboBox()
            selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
            selector.noneEnabled = True
            selector.addEnabled = False
            selector.removeEnabled = False
            selector.showChildNodeTypes = False
            selector.noneDisplay = _("Choose the {channel} image").format(channel=channel)
            selector.objectName = f"channelSelector_{channel}"
            selector.setMRMLScene(slicer.mrmlScene)
            # Not "currentNodeChanged": when a node is deleted, the selector takes another one, which nobody chose.
            selector.connect("nodeActivated(vtkMRMLNode*)", lambda node, name=channel: self._volumeChosen(name, node))
            layout.addRow(f"{channel}:", selector)
            self._selectors[channel] = selector

    def _modelChosen(self, name: str) -> None:
        if self._parameters is not None:
            self._parameters.model = name

    def _volumeChosen(self, channel: str, node: Any) -> None:
        if self._parameters is not None:
            with modifying(self._parameters):
                setChannelNode(self._parameters, channel, node)
                self._leaveOthersResult()

    def _leaveOthersResult(self) -> None:
        """Volumes were chosen, and now all are: the result of another patient is not to be replaced by theirs."""
        parameters = self._parameters
        assert parameters is not None
        output = parameters.outputSegmentation
        drawnOn = output.GetNodeReferenceID(DRAWN_ON) if output is not None else None
        chosen = chosenChannels(parameters, list(self._selectors)).values()
        if drawnOn and len(chosen) == len(self._selectors) and drawnOn not in [node.GetID() for node in chosen]:
            parameters.outputSegmentation = None

    def _outputChosen(self, node: Any) -> None:
        if self._parameters is not None:
            self._parameters.outputSegmentation = node

    def _deviceChosen(self, index: int) -> None:
        if self._parameters is not None:
            self._parameters.device = self.ui.deviceCombo.itemData(index)

    def _brainChosen(self, index: int) -> None:
        if self._parameters is not None:
            self._parameters.brain = self.ui.brainCombo.itemData(index)

    def fillEmpty(self) -> list[str]:
        """Choose the volumes of the channels that have none, where names or DICOM tell; the channels left without."""
        if self._parameters is None:
            return []
        channels = list(self._selectors)
        taken = chosenChannels(self._parameters, channels)
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        found = fillChannels(channels, nodes, taken)
        with modifying(self._parameters):
            for channel, node in found.items():
                setChannelNode(self._parameters, channel, node)
            if found:
                self._leaveOthersResult()
        return [channel for channel in channels if channel not in {**taken, **found}]

    def enter(self) -> None:
        """The module is shown: when nothing was chosen yet, what is loaded is."""
        if self._parameters is not None and not chosenChannels(self._parameters, list(self._selectors)):
            self.fillEmpty()

    def _fill(self, checked: bool = False) -> None:
        missing = self.fillEmpty()
        if missing:
            self.view.say(
                _("No volume was recognized as {channels}: choose it yourself.").format(channels=", ".join(missing))
            )

    def _clicked(self, checked: bool = False) -> None:
        running = next((job for job in (self.job, self._sampleJob) if job is not None and job.running), None)
        if running is not None:
            running.stop()
            self.view.stopping()
            return
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not start.")):
            self.job = SegmentJob(self._request(), self.view.event, self._finished)
            self.view.begin(_("Starting..."))
            try:
                self.job.start()
            except Exception as error:
                self.job = None
                self.view.end(str(error))
                raise

    def _finished(self, result: SegmentResult) -> None:
        if self.view.closed:
            return
        if result.outcome.cancelled:
            self.view.end(_("Canceled."))
        elif not result.outcome.ok:
            self.view.end(result.outcome.message, problem=True)
            if result.outcome.log:
                self.view.note(result.outcome.log)
        elif result.segmentation is None:
            self.view.end(_("The scene was closed: there is nothing to show the result on."))
        else:
            warnings = " ".join(_("Warning: {text}").format(text=text) for text in result.warnings)
            self.view.end(f"{_('Done.')} {warnings}".strip())
            self._show(result)
        self.update()

    def _show(self, result: SegmentResult) -> None:
        if self._parameters is None:
            return
        chosen = chosenChannels(self._parameters, list(self._selectors)).values()
        with modifying(self._parameters):
            if set(chosen) & set(self.job.request.volumes.values()):  # else those of another patient were chosen since
                self._parameters.outputSegmentation = result.segmentation
            self._parameters.volumesTable = result.table
        self.ui.resultGroup.collapsed = False
        if self._parameters.show3D:
            result.segmentation.CreateClosedSurfaceRepresentation()

    def _sampleLoaded(self, nodes: dict[str, Any], problem: str) -> None:
        if self.view.closed:
            return
        self.view.end(problem or _("The sample is loaded: a simulated patient, with its exact labels."), bool(problem))
        if nodes and self._parameters is not None:
            with modifying(self._parameters):
                for channel in self._selectors:
                    if channel in nodes:
                        setChannelNode(self._parameters, channel, nodes[channel])
                self._leaveOthersResult()
        self.update()
