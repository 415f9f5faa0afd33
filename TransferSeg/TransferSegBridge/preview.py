"""Preview: what the network sees in a validation case while it learns, as an overlay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer
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
        self._cases: dict[str, AnnotatedCase] = {}

    def begin(self, cases: Sequence[AnnotatedCase]) -> None:
        """A run on these cases starts."""
        self.segmentation = None
        self._cases = {case.name: case for case in cases if case.loaded}

    def show(self, event: dict[str, Any], scheme: LabelScheme) -> None:
        """Show the label map that an event tells of. A case that is not loaded, or was deleted, is not shown."""
        case = self._cases.get(event["case"])
        images = case.images if case is not None else {}
        channel = next((channel for channel in REFERENCE_ORDER if channel in images), "")
        node = slicer.mrmlScene.GetNodeByID(images[channel]) if channel and images[channel] else None
        if node is None:
            return
        if self.segmentation is not None and self.segmentation.GetScene() is None:
            self.segmentation = None
        try:
            place = Place.of(node)
            labels = readLabels(Path(event["file"]), place, scheme)
        except TransferSegError:
            return  # written anew at this moment, or the image was changed: the next one will do
        name = _("Preview of {case}").format(case=event["case"])
        self.segmentation = showLabels(labels, scheme, place, self.segmentation, name)
        self.segmentation.SetAttribute(PREDICTION, "1")
        self.segmentation.SetName(_("{name}, epoch {epoch}").format(name=name, epoch=event["epoch"]))

    def end(self) -> None:
        """The run has ended: the overlay has done its service."""
        if self.segmentation is not None and self.segmentation.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self.segmentation)
        self.segmentation = None
