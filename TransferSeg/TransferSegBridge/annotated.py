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

from .channels import predictionOf
from .nodes import problemOf
from .parameters import TransferSegParameterNode, modifying
from .segments import MOST_NAMES, OWN_NAMES, matchSegments, schemeOfSegments

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
    classes : for a loaded case, segment ID (or value of a label map) to the name of a class; empty: not used. In the
        table, where it differs from what is guessed (:func:`withClasses`).
    role : one of ``ROLES``.
    group, patient : as in :class:`TransferSegLib.case_files.CaseFiles`.
    scheme : of a case on disk, what the values of its label map mean, as its dataset tells: name or JSON, see
        :func:`textOfScheme`. Empty: the dataset tells nothing, the values are the codes of the classes that are chosen.
    brain : of a case on disk, file of its brain mask; or empty.
    """

    name: str
    images: Mapping[str, str]
    label: str = ""
    loaded: bool = True
    classes: Mapping[str, str] = field(default_factory=dict)
    role: str = "auto"
    group: str = ""
    patient: str = ""
    scheme: str = ""
    brain: str = ""

    def problem(self, channels: Sequence[str], scheme: LabelScheme | None) -> str:
        """Why the case cannot be learned from, in one sentence; empty when it can."""
        missing = [channel for channel in channels if not self.images.get(channel)]
        if missing:
            return _("It has no {channel} image.").format(channel=missing[0])
        if not self.label or (self.loaded and slicer.mrmlScene.GetNodeByID(self.label) is None):
            return self._noLabel()
        if not self.loaded:
            return self._problemOnDisk(scheme)
        for channel in channels:
            problem = problemOf(slicer.mrmlScene.GetNodeByID(self.images[channel]))
            if problem:
                return problem
        if scheme is not None and not set(self.classes.values()) & set(scheme.names[1:]):
            return _("None of its segments is one of {names}.").format(names=", ".join(scheme.names[1:]))
        return ""

    def _noLabel(self) -> str:
        images = [nodeID for nodeID in self.images.values() if nodeID] if self.loaded else []
        found = predictionOf(map(slicer.mrmlScene.GetNodeByID, images))
        if found is None:
            return _("It has no segmentation.")
        return _(
            "'{name}' was drawn by a network: if you have corrected it, choose it as the segmentation below."
        ).format(name=found.GetName())

    def _problemOnDisk(self, scheme: LabelScheme | None) -> str:
        paths = [path for path in (*self.images.values(), self.label, self.brain) if path]
        gone = [path for path in paths if not os.path.exists(path)]
        if gone:
            return _("{path} does not exist.").format(path=gone[0])
        if self.scheme:
            own = schemeOfText(self.scheme)
            if scheme is None or not sameClasses(own, scheme):
                # Where the names are the same, the values are not.
                alike = scheme is not None and set(own.names) == set(scheme.names)
                names = codesText(own) if alike else ", ".join(own.names[1:])
                return _("Its label map has the classes {names}: choose these under Classes, or take it out.").format(
                    names=names
                )
        elif scheme is None or scheme.name == OWN_NAMES:
            return _("Its label map on disk has numbers, not names: choose other classes, or take it out.")
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
    """What the cases shall teach; None when the user's own segments are meant and there are none yet, or too many."""
    if parameters.scheme != OWN_NAMES:
        return schemeOfText(parameters.scheme)
    colors = _ownSegments(cases)
    return schemeOfSegments(list(colors), list(colors.values())) if 0 < len(colors) <= MOST_NAMES else None


def noSchemeText(cases: Sequence[AnnotatedCase]) -> str:
    """Why the user's own segments teach nothing, in a sentence."""
    number = len(_ownSegments(cases))
    if number > MOST_NAMES:
        return _(
            "The segments have {number} different names, and at most {most} can be learned: rename some, or choose "
            "other classes."
        ).format(number=number, most=MOST_NAMES)
    return _("None of the cases has a segmentation to learn from.")


def schemeOfText(text: str) -> LabelScheme:
    """The inverse of :func:`textOfScheme`."""
    return SCHEMES[text] if text in SCHEMES else LabelScheme.from_dict(json.loads(text))


def textOfScheme(scheme: LabelScheme) -> str:
    """The name of a scheme that ships with TransferSeg, any other one as JSON."""
    return scheme.name if SCHEMES.get(scheme.name) == scheme else json.dumps(scheme.to_dict())


def sameClasses(one: LabelScheme, other: LabelScheme) -> bool:
    """Whether a value in a file means the same by both; colors may differ."""
    first, second = ({item.name: set(item.codes) for item in scheme.classes} for scheme in (one, other))
    return first == second


def codesText(scheme: LabelScheme) -> str:
    """``necrotic = 1, edema = 2``."""
    return ", ".join(f"{item.name} = {'/'.join(map(str, item.codes))}" for item in scheme.classes[1:])


def withClasses(
    parameters: TransferSegParameterNode, cases: Sequence[AnnotatedCase], scheme: LabelScheme | None
) -> list[AnnotatedCase]:
    """The cases with the class of every segment: the one that the user has given it, else what its name tells.

    It is asked for whenever it is needed, and not kept: segments are drawn and renamed after a case was added.
    """
    done = []
    for case in cases:
        label = _labelNode(case)
        if label is not None:
            segments = segmentNames(case)
            known = scheme.names[1:] if scheme is not None else ()
            given = {
                key: name
                for key, name in case.classes.items()
                if (not name or name in known) and (key in segments or not label.IsA("vtkMRMLSegmentationNode"))
            }
            if parameters.scheme == OWN_NAMES:
                guessed = {key: name for key, name in segments.items() if name in known}
            else:
                guessed = _guessClasses(label, scheme) if scheme is not None else {}
            case = replace(case, classes={**guessed, **given})
        done.append(case)
    return done


def segmentNames(case: AnnotatedCase) -> dict[str, str]:
    """Segment ID to name; empty when the case has no segmentation node."""
    label = _labelNode(case)
    if label is None or not label.IsA("vtkMRMLSegmentationNode"):
        return {}
    segmentation = label.GetSegmentation()
    return {key: segmentation.GetSegment(key).GetName() for key in segmentation.GetSegmentIDs()}


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


def _labelNode(case: AnnotatedCase) -> Any:
    return slicer.mrmlScene.GetNodeByID(case.label) if case.loaded and case.label else None


def _guessClasses(label: Any, scheme: LabelScheme) -> dict[str, str]:
    if label.IsA("vtkMRMLSegmentationNode"):
        return matchSegments(label, scheme)
    return {str(code): item.name for item in scheme.classes[1:] for code in item.codes}


def _ownSegments(cases: Sequence[AnnotatedCase]) -> dict[str, Sequence[float]]:
    """The names of all segments that can be a class, with a color each."""
    colors: dict[str, Sequence[float]] = {}
    for case in cases:
        for segmentID, name in segmentNames(case).items():
            if name.strip().casefold() not in ("", "background"):
                colors.setdefault(name, _labelNode(case).GetSegmentation().GetSegment(segmentID).GetColor())
    return colors


def _referenceRoles(node: Any) -> list[str]:
    roles = [node.GetNthNodeReferenceRole(number) for number in range(node.GetNumberOfNodeReferenceRoles())]
    return [role for role in roles if role.startswith(_ROLE_PREFIX)]
