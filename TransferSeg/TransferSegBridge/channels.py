"""Which volume node is which channel, and which nodes belong to one visit of one patient."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import PurePath
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from TransferSegLib.case_files import CHANNELS
from TransferSegLib.naming import find_channel, is_brain_mask, is_label, patient_of

from .places import ijkToRasOf
from .segments import BINARY_LABELMAP, isAllOurs

# Attribute of a segmentation that a network drew: nobody should learn from it without having chosen to.
PREDICTION = "TransferSeg.Prediction"

# Reference of a segmentation to the image that it was drawn on.
DRAWN_ON = "referenceImageGeometryRef"

# Words of names that tell how an image was taken or processed, or that it is a label map, and not of whom it is.
_TECHNICAL = re.compile(
    "[23]d|ax(ial)?|sag(ittal)?|cor(onal)?|tra(ns|nsversal)?|obl|mri?|brain|head|t?se|fse|gre|ir|space|mp2?rage|spgr|"
    "bravo|vibe|cube|flash|tfe|ffe|fs|fat|sat|fatsat|dark|fluid|iso|w|c|ce|km|gd|gad|gado(linium)?|contrast|co?reg|"
    "reg(istered)?|resampled|warped|mni|n4|bias|corrected|norm(alized)?|stripped|bet|cropped|copy|volume|image|series|"
    "seg(mentation)?|label(s|map)?|mask|lesions?|tumou?r|reference|truth|ground|gt|manual|expert|consensus"
)
# These tell a contrast agent after the channel; before it they may as well tell one of two visits.
_TECHNICAL_AFTER = re.compile(f"{_TECHNICAL.pattern}|pre|post|(pre|post)contrast|native|to|in|with|without|no|wo")

# A contrast agent after the T1, as DICOM series have it. (An underscore stands between words.)
_AGENTS = re.compile(
    r"_t1.*_(ce|km|gd|gad|gado|gadolinium|contrast|postcontrast|post(?!_(op|surg|rt|rad|treat)))|_t1.*\+_?c_"
)
_NO_AGENT = re.compile(r"_(pre|precontrast|non?|without|wo|w_o|native|nativ|ohne)_")

# DICOM tags of the series description, the protocol and the contrast agent.
_DESCRIPTION, _PROTOCOL, _AGENT = "0008,103E", "0018,1030", "0018,0010"


def guessChannel(volumeNode: Any) -> str | None:
    """The channel (t1, t1c, t2 or flair) that the name of a volume node tells, or else what else is known of it.

    That is its name in the subject hierarchy, attributes with a series description, the DICOM database, and the name of
    its file. A T1 is t1c if the DICOM database knows a contrast agent.
    """
    return _channelOf(volumeNode, CHANNELS)


def fillChannels(channels: Sequence[str], nodes: Iterable[Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    """Choose a volume node for the channels of a model that have none.

    All come from one visit of one patient: that of the nodes in ``taken``, else the one with the most channels, else
    the newest. Of several nodes for one channel the newest is taken: often it is the registered or corrected one.

    Parameters
    ----------
    nodes : to choose from, in the order of the scene.
    taken : channel to node, as chosen by the user. These are kept.

    Returns
    -------
    Channel to node, of those that are not in ``taken``. No node is there twice.
    """
    taken = {channel: node for channel, node in taken.items() if node is not None}
    chosen = list(taken.values())
    visits = _visits([*nodes, *chosen], channels)
    theirs = [
        visit for visit in visits if any(node in visit.nodes or _keyOf(node, channels) == visit.key for node in chosen)
    ]
    if not visits or (chosen and not theirs and len(visits) > 1):
        return {}
    free = [channel for channel in channels if channel not in taken]
    ranked = sorted(theirs or visits, key=lambda visit: len(visit.images(free, chosen)))  # keeps the newest last
    return ranked[-1].images(free, chosen)


def caseName(nodes: Iterable[Any], channels: Sequence[str] = CHANNELS) -> str:
    """A name for the visit that nodes belong to.

    What their names share before the channel ("Brats18_2013_2_1" of "Brats18_2013_2_1_flair"), else patient and study
    in the subject hierarchy, else what they share after the channel, else the folder of their files, else "case".
    """
    nodes = list(nodes)
    shared = _shared([_beforeChannel(node.GetName(), channels) for node in nodes]).strip(" ._-")
    if any(not _TECHNICAL.fullmatch(word) for word in _words(shared)):
        return shared
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    items = [item for item in (_ancestors(nodes[0]) if nodes else ()) if item]
    after = _shared([" ".join(_ownWords(node.GetName(), channels)[1]) + " " for node in nodes]).strip()
    folders = {_file(node).parent.name for node in nodes}
    folder = folders.pop() if len(folders) == 1 else ""
    return " ".join(hierarchy.GetItemName(item) for item in items) or after or folder or _("case")


def patientName(nodes: Iterable[Any]) -> str:
    """The patient of a visit: in the subject hierarchy, else what the case's name tells; empty when nothing does.

    Visits of one patient must not stand on two sides of a split.
    """
    nodes = list(nodes)
    patient = _ancestors(nodes[0])[0] if nodes else 0
    if patient:
        return slicer.mrmlScene.GetSubjectHierarchyNode().GetItemName(patient)
    name = caseName(nodes)
    return patient_of(name) if patient_of(name) != name else ""


def groupIntoCases(nodes: Iterable[Any], channels: Sequence[str]) -> list[tuple[str, dict[str, Any], Any]]:
    """The visits in the scene, in its order: name, channel to volume node, and the segmentation or label map, or None.

    Nodes are of one visit when they lie in one study of the subject hierarchy; elsewhere when they lie in one folder of
    it and their names say the same beside the channel, or, if they say nothing, when their files lie in one folder.
    Label maps and segmentations are looked for in the whole scene. One belongs to a visit by its reference image, by
    the same rules as the images, or by its grid, when only one visit has such a grid; to the only visit in any case.
    """
    visits = _visits(nodes, channels)
    labels: dict[int, tuple[Any, ...]] = {}
    for age, label in enumerate(_labelNodes()):
        scores = [_belongs(label, visit, channels) for visit in visits]
        if scores.count(max(scores, default=0)) == 1 and (max(scores) > 0 or len(visits) == 1):
            best = scores.index(max(scores))
            # What a person drew comes before what TransferSeg made, the newer before the older.
            drawn = not (label.IsA("vtkMRMLSegmentationNode") and isAllOurs(label))
            labels[best] = max(labels.get(best, ()), (scores[best], drawn, age, label))
    return [
        (caseName(visit.nodes, channels), visit.images(channels), labels[number][-1] if number in labels else None)
        for number, visit in enumerate(visits)
    ]


def predictionOf(nodes: Iterable[Any]) -> Any:
    """The newest segmentation that a network drew on one of these images, or None."""
    nodes = [node for node in nodes if node is not None]
    found = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetAttribute(PREDICTION) and node.GetNodeReference(DRAWN_ON) in nodes
    ]
    return found[-1] if found else None


@dataclass(eq=False)
class _Visit:
    """What belongs together: where it lies in the subject hierarchy, what the names say, and the images."""

    key: tuple[Any, ...]
    nodes: list[Any] = field(default_factory=list)

    def images(self, channels: Sequence[str], without: Iterable[Any] = ()) -> dict[str, Any]:
        """Channel to its newest node."""
        found = {_channelOf(node, channels): node for node in self.nodes if node not in without}
        return {channel: found[channel] for channel in channels if channel in found}


def _visits(nodes: Iterable[Any], channels: Sequence[str]) -> list[_Visit]:
    """By the age of their first node."""
    visits: dict[tuple[Any, ...], _Visit] = {}
    for node in dict.fromkeys(nodes):
        if _isImage(node) and _channelOf(node, channels):
            key = _keyOf(node, channels)
            visits.setdefault(key, _Visit(key)).nodes.append(node)
    # "T1" and "post T1" of the only patient there is: the name that says nothing fits to any.
    unnamed = [visit for visit in visits.values() if visit.key[1:] == ("",)]
    if len(visits) == 2 and len(unnamed) == 1:
        other = next(visit for visit in visits.values() if visit is not unnamed[0])
        same = other.key[0] == unnamed[0].key[0] and len(other.key) > 1
        if same and not set(other.images(channels)) & set(unnamed[0].images(channels)):
            other.nodes.extend(unnamed[0].nodes)
            return [other]
    return list(visits.values())


def _channelOf(node: Any, channels: Sequence[str]) -> str | None:
    if is_label(node.GetName()) or is_brain_mask(node.GetName()):
        return None
    for text in _hints(node):
        name = re.sub(r"[/\\]", " ", text)
        found = find_channel(name, [*channels, *CHANNELS])
        words = "_".join(["", *re.findall(r"[+]|[^\W_]+", name.lower()), ""])
        if found == "t1" and not _NO_AGENT.search(words):
            agent = _dicom(node, _AGENT).strip().lower() not in ("", "no", "none")
            found = "t1c" if agent or _AGENTS.search(words) else found
        if found is not None:
            return found if found in channels else None
    return None


def _hints(node: Any) -> Iterable[str]:
    """What may tell the channel, the surest first."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    yield node.GetName()
    if item:
        yield hierarchy.GetItemName(item)
        for name in hierarchy.GetItemAttributeNames(item):
            if "Description" in name or "Protocol" in name:
                yield hierarchy.GetItemAttribute(item, name)
    for name in node.GetAttributeNames():
        if "Description" in name or "Protocol" in name:
            yield node.GetAttribute(name)
    yield _dicom(node, _DESCRIPTION)
    yield _dicom(node, _PROTOCOL)
    yield _file(node).name


def _dicom(node: Any, tag: str) -> str:
    """A value from the DICOM database; empty when there is none."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    return str(database.instanceValue(instances[0], tag) or "") if database is not None and instances else ""


def _isImage(node: Any) -> bool:
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode") or node.GetHideFromEditors():
        return False
    image = node.GetImageData()
    return image is not None and image.GetNumberOfScalarComponents() == 1


def _keyOf(node: Any, channels: Sequence[str]) -> tuple[Any, ...]:
    """The same for nodes of one visit: the study, or folder of the subject hierarchy and what the name says."""
    patient, study = _ancestors(node)
    if study or patient:
        return (study or patient,)
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    parent = hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()
    before, after, numbers = _ownWords(node.GetName(), channels)
    if before or after:
        return parent, " ".join(before or after)
    file = _file(node)
    if file.name:  # The number at the end may tell no more than that the scene has this name already.
        return parent, "", str(file.parent), " ".join(_ownWords(file.name.split(".")[0], channels)[2])
    return parent, " ".join(numbers)


def _ownWords(name: str, channels: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """What a name says beside the channel: words before it, words after it, and numbers after it."""
    before = _words(_beforeChannel(name, channels))
    words = _words(re.sub(r"^\d+: ", "", name))[len(before) :]
    after = [word for word in words if not _isChannel(word, channels) and not _TECHNICAL_AFTER.fullmatch(word)]
    return (
        [word for word in before if not _TECHNICAL.fullmatch(word)],
        [word for word in after if not re.fullmatch(r"\d+(mm|d)?|[a-z]\d|x", word)],
        [word for word in after if word.isdigit()],
    )


def _beforeChannel(name: str, channels: Sequence[str]) -> str:
    parts = re.split(r"([\W_]+)", re.sub(r"^\d+: ", "", name))  # Slicer puts the number of a DICOM series first.
    return "".join(takewhile(lambda part: not _isChannel(part, channels), parts))


def _shared(texts: Sequence[str]) -> str:
    """The whole words that all texts begin with."""
    rows = [re.split(r"([\W_]+)", text) for text in texts]
    return "".join(items[0] for items in takewhile(lambda items: len(set(items)) == 1, zip(*rows, strict=False)))


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.lower())


def _isChannel(word: str, channels: Sequence[str]) -> bool:
    return find_channel(word, [*channels, *CHANNELS]) is not None


def _ancestors(node: Any) -> tuple[int, int]:
    """Patient and study in the subject hierarchy, 0 where there is none."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    return tuple(hierarchy.GetItemAncestorAtLevel(item, level) if item else 0 for level in ("Patient", "Study"))


def _file(node: Any) -> PurePath:
    storage = node.GetStorageNode()
    return PurePath((storage.GetFileName() or "") if storage is not None else "")


def _labelNodes() -> list[Any]:
    kinds = ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")
    found = [node for kind in kinds for node in slicer.util.getNodesByClass(kind)]
    return [
        node
        for node in found
        if not (node.GetHideFromEditors() or node.GetAttribute(PREDICTION) or is_brain_mask(node.GetName()))
    ]


def _belongs(label: Any, visit: _Visit, channels: Sequence[str]) -> int:
    """How surely: 3 by its reference image, 2 by place or name, 1 by its grid, 0 not at all."""
    if label.GetNodeReference(DRAWN_ON) in visit.nodes:
        return 3
    if _keyOf(label, channels) == visit.key:
        return 2
    grid = _gridOf(label)
    return int(grid is not None and any(np.allclose(grid, ijkToRasOf(node), atol=1e-3) for node in visit.nodes))


def _gridOf(label: Any) -> np.ndarray | None:
    if not label.IsA("vtkMRMLSegmentationNode"):
        return ijkToRasOf(label) if label.GetImageData() is not None else None
    segmentation = label.GetSegmentation()
    for segmentID in segmentation.GetSegmentIDs():
        image = segmentation.GetSegment(segmentID).GetRepresentation(BINARY_LABELMAP)
        if image is not None:
            matrix = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(matrix)
            return slicer.util.arrayFromVTKMatrix(matrix)
    return None
