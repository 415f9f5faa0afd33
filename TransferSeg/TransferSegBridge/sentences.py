"""What the fine-tune panel says in words: cases, strategy, and how much a result is worth."""

from __future__ import annotations

from slicer.i18n import tr as _

from TransferSegLib.labels import LabelScheme
from TransferSegLib.strategies import STRATEGIES, count_parameters

from .annotated import AnnotatedCase
from .model_picker import Needs
from .runfolder import RunFolder

_FEW = 10  # held-out cases below which a mean Dice is no more than a hint


def schemeText(scheme: LabelScheme) -> str:
    """Name and classes."""
    return scheme.name if scheme.names[1:] == (scheme.name,) else f"{scheme.name}: {', '.join(scheme.names[1:])}"


def casesText(cases: list[AnnotatedCase], problems: list[str]) -> str:
    """What the table holds, in a sentence."""
    if not cases:
        return _("Add cases: patients with their images and a segmentation made by a person.")
    wrong = [f"{case.name}: {problem}" for case, problem in zip(cases, problems, strict=True) if problem]
    if wrong:
        return _("{number} of {total} cases cannot be used yet. {first}").format(
            number=len(wrong), total=len(cases), first=wrong[0]
        )
    patients = len({case.patient or case.name for case in cases})
    text = _("{cases} cases of {patients} patients.").format(cases=len(cases), patients=patients)
    if patients < 3 and not any(case.role == "test" for case in cases):
        text += " " + _("Too few to hold one out: how good the model is on unseen patients will not be known.")
    return text


def strategyText(name: str, source: Needs, classes: int) -> str:
    """What a strategy trains, in plain words and in numbers."""
    trained, total = count_parameters(STRATEGIES[name], len(source.channels), classes, source.baseFilters, source.steps)
    numbers = _("{trained} of {total} parameters are trained.").format(trained=f"{trained:,}", total=f"{total:,}")
    return f"{STRATEGIES[name].explanation} {numbers}"


def scoresText(folder: RunFolder) -> str:
    """The result on the held-out cases in words, with how much it is worth."""
    scores = folder.scores()
    if not scores or not next(iter(scores.values())):
        return _("No case was held out: how good the model is on unseen patients is not known.")
    lines = []
    for strategy, found in scores.items():
        means = ", ".join(f"{region} {mean:.2f}" for region, (mean, _number) in found.items())
        lines.append(_("Mean Dice with {strategy}: {means}.").format(strategy=strategy, means=means))
    number = max(count for found in scores.values() for _mean, count in found.values())
    lines.append(_("Held-out cases: {number}.").format(number=number))
    if number < _FEW:
        lines.append(_("So few cases give a hint, no proof."))
    return " ".join(lines)
