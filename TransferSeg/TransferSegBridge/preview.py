"""Preview: what the network sees in a validation case while it learns, as an overlay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from TransferSegLib.case_files import REFERENCE_ORDER
from TransferSegLib.errors import TransferSegError
from TransferSegLib.labels import LabelScheme

from .annotated import AnnotatedCase
from .channels import PREDICTION
from .nodes import Place, readLabels, showLabels


class Preview:
    """Keeps one segmentation node up to date with the label maps that a training writes."""

    def __init__(self) -> None:
        self.segmentation: Any = None
        self._nodes: dict[str, Any] = {}
        self._scheme: LabelScheme | None = None

    def begin(self, cases: Sequence[AnnotatedCase], scheme: LabelScheme | None) -> None:
        """A run on these cases starts, in which they are given these classes. None: nothing will be shown."""
        self.segmentation, self._scheme = None, scheme
        self._nodes = {}
        for case in cases:
            channel = next((channel for channel in REFERENCE_ORDER if case.loaded and case.images.get(channel)), "")
            if channel:
                # Not the ID: after the scene was closed, the volume of another patient may have it.
                self._nodes[case.name] = vtk.vtkWeakReference()
                self._nodes[case.name].Set(slicer.mrmlScene.GetNodeByID(case.images[channel]))

    def show(self, event: dict[str, Any]) -> None:
        """Show the label map that an event tells of. A case that is not loaded, or was deleted, is not shown."""
        node = self._nodes[event["case"]].Get() if event["case"] in self._nodes else None
        if node is None or not slicer.mrmlScene.IsNodePresent(node) or self._scheme is None:
            return
        if self.segmentation is not None and self.segmentation.GetScene() is None:
            self.segmentation = None
        try:
            place = Place.of(node)
            labels = readLabels(Path(event["file"]), place, self._scheme)
        except TransferSegError:
            return  # written anew at this moment, or the image was changed: the next one will do
        name = _("Preview of {case}").format(case=event["case"])
        new = self.segmentation is None
        self.segmentation = showLabels(labels, self._scheme, place, self.segmentation, name)
        self.segmentation.SetAttribute(PREDICTION, "1")
        if new:
            # Thick lines over the filled reference: both have the same colors.
            display = self.segmentation.GetDisplayNode()
            display.SetVisibility2DFill(False)
            display.SetSliceIntersectionThickness(3)
        self.segmentation.SetName(_("{name}, epoch {epoch}").format(name=name, epoch=event["epoch"]))

    def end(self) -> None:
        """The run has ended: the overlay has done its service."""
        if self.segmentation is not None and self.segmentation.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self.segmentation)
        self.segmentation = None
