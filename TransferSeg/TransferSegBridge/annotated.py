"""AnnotatedCase: a row of the table of cases to learn from, in the scene or on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from TransferSegLib.case_files import CaseFiles
from TransferSegLib.labels import SCHEMES, LabelScheme
from TransferSegLib.splits import split_cases

from .nodes import problemOf
from .parameters import TransferSegParameterNode, modifying
from .segments import schemeOfSegments

ROLES = ("auto", "train", "validate", "test")

# The share of patients with the role "auto" that validate and that are held out, when nobody was chosen for it.
SHARE = 0.2

_ROLE_PREFIX = "TransferSeg.case."


@dataclass(frozen=True)
class AnnotatedCase:
    """One visit of a patient with its annotation.

    Attributes
    ----------
    name : unique in the table.
    images : channel to node ID, or to a file of a case that is not loaded.
    label : node ID of a segmentation or label map, or a file; empty: none.
    loaded : whether the images are nodes of the scene.
    classes : for a loaded case, segment ID (or value of a label map) to the name of a class.
    role : one of ``ROLES``.
    group, patient : as in :class:`TransferSegLib.case.CaseFiles`.
    """

    name: str
    images: Mapping[str, str]
    label: str = ""
    loaded: bool = True
    classes: Mapping[str, str] = field(default_factory=dict)
    role: str = "auto"
    group: str = ""
    patient: str = ""

    def problem(self, channels: Sequence[str], scheme: LabelScheme | None) -> str:
        """Why the case cannot be learned from, in one sentence; empty when it can."""
        missing = [channel for channel in channels if not self.images.get(channel)]
        if missing:
            return _("It has no {channel} image.").format(channel=missing[0])
        if not self.label or (self.loaded and slicer.mrmlScene.GetNodeByID(self.label) is None):
            return _("It has no segmentation.")
        if not self.loaded:
            gone = [path for path in (*self.images.values(), self.label) if not os.path.exists(path)]
            return _("{path} does not exist.").format(path=gone[0]) if gone else ""
        for channel in channels:
            problem = problemOf(slicer.mrmlScene.GetNodeByID(self.images[channel]))
            if problem:
                return problem
        if scheme is not None and not set(self.classes.values()) & set(scheme.names[1:]):
            return _("None of its segments is one of {names}.").format(names=", ".join(scheme.names[1:]))
        return ""


def storeCases(parameters: TransferSegParameterNode, cases: Sequence[AnnotatedCase]) -> None:
    """Write the table into the parameter node. Nodes are kept as references, which follow them when IDs change."""
    node = parameters.parameterNode
    with modifying(parameters):
        for role in _referenceRoles(node):
            node.RemoveNodeReferenceIDs(role)
        rows = []
        for number, case in enumerate(cases):
            row = asdict(case)
            if case.loaded:
                for key, nodeID in {**case.images, "label": case.label}.items():
                    if nodeID:
                        node.SetNodeReferenceID(f"{_ROLE_PREFIX}{number}.{key}", nodeID)
                row["images"], row["label"] = dict.fromkeys(case.images, ""), ""
            rows.append(row)
        parameters.cases = json.dumps(rows)


def loadCases(parameters: TransferSegParameterNode) -> list[AnnotatedCase]:
    """The table as the parameter node has it; a node that was deleted is an empty string."""
    node, cases = parameters.parameterNode, []
    for number, row in enumerate(json.loads(parameters.cases or "[]")):
        if row["loaded"]:

            def nodeID(key: str, number: int = number) -> str:
                found = node.GetNodeReference(f"{_ROLE_PREFIX}{number}.{key}")
                return found.GetID() if found is not None else ""

            row["images"], row["label"] = {channel: nodeID(channel) for channel in row["images"]}, nodeID("label")
        cases.append(AnnotatedCase(**row))
    return cases


def schemeOf(parameters: TransferSegParameterNode, cases: Sequence[AnnotatedCase]) -> LabelScheme | None:
    """What the cases shall teach; None when the user's own segments are meant and there are none yet."""
    if parameters.scheme in SCHEMES:
        return SCHEMES[parameters.scheme]
    if parameters.scheme != "segments":
        return LabelScheme.from_dict(json.loads(parameters.scheme))
    colors: dict[str, Sequence[float]] = {}
    for case in cases:
        node = slicer.mrmlScene.GetNodeByID(case.label) if case.loaded and case.label else None
        if node is not None and node.IsA("vtkMRMLSegmentationNode"):
            segmentation = node.GetSegmentation()
            for segmentID in segmentation.GetSegmentIDs():
                segment = segmentation.GetSegment(segmentID)
                colors.setdefault(segment.GetName(), segment.GetColor())
    return schemeOfSegments(list(colors), list(colors.values())) if colors else None


def assignRoles(cases: Sequence[AnnotatedCase]) -> list[AnnotatedCase]:
    """Every case with a role other than ``auto``; the same for the same cases.

    Patients, not visits, are split: a fifth of them is held out and a fifth validates, of each group its share, as soon
    as there are three and two patients. A role that the user gave stays, and so does the patient: all visits follow.
    """
    roles = {case.patient or case.name: case.role for case in cases if case.role != "auto"}
    free = [
        CaseFiles(case.name, {"image": Path()}, group=case.group, patient=case.patient)
        for case in cases
        if (case.patient or case.name) not in roles
    ]
    patients = len({case.patient or case.name for case in cases})
    for role, least in (("test", 3), ("validate", 2)):
        # One patient at least is left to train on.
        if role in roles.values() or patients < least or len({case.patient for case in free}) < 2:
            continue
        free, chosen = split_cases(free, SHARE, seed=0)
        roles.update((case.patient, role) for case in chosen)
    roles.update((case.patient, "train") for case in free)
    return [replace(case, role=roles[case.patient or case.name]) for case in cases]


def uniqueName(wanted: str, cases: Sequence[AnnotatedCase]) -> str:
    """``wanted``, with a number if a case has that name already, and without what cannot stand in a file name."""
    base = "".join(letter if letter not in '/\\:*?"<>|,\0' else "-" for letter in wanted).strip(" .") or "case"
    taken, number, name = {case.name.casefold() for case in cases}, 2, base
    while name.casefold() in taken:
        name, number = f"{base} {number}", number + 1
    return name


def _referenceRoles(node: Any) -> list[str]:
    roles = [node.GetNthNodeReferenceRole(number) for number in range(node.GetNumberOfNodeReferenceRoles())]
    return [role for role in roles if role.startswith(_ROLE_PREFIX)]
