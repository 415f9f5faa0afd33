"""Cases to learn from, found among the nodes of the scene or in a dataset on disk."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
from slicer.i18n import tr as _

from TransferSegLib.errors import InputError
from TransferSegLib.labels import LabelScheme

from .annotated import AnnotatedCase, sameClasses, textOfScheme, uniqueName
from .channels import groupIntoCases, patientName


def casesOfScene(cases: Sequence[AnnotatedCase], channels: Sequence[str]) -> list[AnnotatedCase]:
    """The visits in the scene none of whose images is in ``cases``."""
    known = {nodeID for case in cases if case.loaded for nodeID in case.images.values()}
    found: list[AnnotatedCase] = []
    for name, images, label in groupIntoCases(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), channels):
        ids = {channel: node.GetID() for channel, node in images.items()}
        if not known & set(ids.values()):
            unique, patient = uniqueName(name, [*cases, *found]), patientName(images.values())
            found.append(AnnotatedCase(unique, ids, label.GetID() if label else "", patient=patient))
    return found


def casesOfFolder(
    path: str, cases: Sequence[AnnotatedCase], channels: Sequence[str], chosen: LabelScheme | None
) -> tuple[list[AnnotatedCase], int]:
    """The annotated cases of a dataset that are not in ``cases``, and how many others it has.

    Parameters
    ----------
    chosen : the classes that cases on disk without a scheme of their own are taken to have.

    Raises
    ------
    InputError : no case is found, or their label maps cannot stand beside those on disk that are in ``cases``: what
        their values mean would be a guess.
    """
    from TransferSegLib.datasets import find_cases

    dataset = find_cases(path, channels)
    scheme = textOfScheme(dataset.scheme) if dataset.scheme is not None else ""
    known = {case.label for case in cases if not case.loaded}
    found: list[AnnotatedCase] = []
    for files in dataset:
        if files.label is None or str(files.label) in known:
            continue
        found.append(
            AnnotatedCase(
                uniqueName(files.name, [*cases, *found]),
                {channel: str(file) for channel, file in files.channels.items()},
                str(files.label),
                loaded=False,
                group=files.group,
                patient=files.patient,
                scheme=scheme,
                brain=str(files.brain) if files.brain is not None else "",
            )
        )
    _requireOneMeaning(found, cases, dataset.scheme, chosen)
    return found, len(dataset) - len(found)


def _requireOneMeaning(
    found: Sequence[AnnotatedCase],
    cases: Sequence[AnnotatedCase],
    scheme: LabelScheme | None,
    chosen: LabelScheme | None,
) -> None:
    there = [case for case in cases if not case.loaded]
    if found and scheme is None and any(case.scheme for case in there):
        raise InputError(
            _("The folder does not tell what the values of its label maps mean; that of cases in the table does."),
            _("Add a dataset.json to the folder, or take the cases on disk out of the table first."),
        )
    if (
        found
        and scheme is not None
        and not all(case.scheme for case in there)
        and (chosen is None or not sameClasses(scheme, chosen))
    ):
        raise InputError(
            _("The label maps of the folder have the classes {names}; cases in the table do not tell theirs.").format(
                names=", ".join(scheme.names[1:])
            ),
            _("Take the cases on disk out of the table first, or add a dataset.json to their folder."),
        )
