"""What the fine-tune panel says in words: cases, strategy, and how much a result or a comparison is worth."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from slicer.i18n import tr as _

from TransferSegLib.labels import LabelScheme
from TransferSegLib.strategies import STRATEGIES, count_parameters
from TransferSegLib.study.design import Design

from .annotated import AnnotatedCase
from .comparing import Estimate
from .comparison import Comparison, Finding
from .model_picker import Needs
from .run_view import duration
from .runfolder import RunFolder

_FEW = 10  # held-out cases below which a mean Dice is no more than a hint
_LONG_S = 3600  # a comparison above which is worth a hint how to make it faster


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


def estimateText(estimate: Estimate, design: Design, patients: int) -> str:
    """What a comparison takes, before it begins; HTML."""
    from TransferSegLib.study.advice import FEWEST_PATIENTS

    lines = [
        _(
            "Networks are trained by {strategies} on {sizes} of the {patients} patients and tested on the others, in "
            "turn, until every patient was tested on: {number} trainings."
        ).format(
            strategies=_listed(design.strategies),
            sizes=_listed(design.sizes),
            patients=patients,
            number=estimate.trainings,
        )
    ]
    if estimate.done:
        lines.append(_("It goes on where it was stopped: {number} are done.").format(number=estimate.done))
    if estimate.seconds is None:
        lines.append(_("How long it takes is told after the first steps."))
    else:
        time = duration(estimate.seconds)
        lines.append(_("<b>It takes about {time}</b> on this computer.").format(time=time))
        if estimate.seconds > _LONG_S:
            lines.append(_("Fewer epochs, or larger voxels, make it faster."))
    lines.append(_("Slicer can be used meanwhile. It can be stopped, and goes on later."))
    if patients < FEWEST_PATIENTS:
        lines.append(
            _("With fewer than {number} patients it will not tell which strategy is the best.").format(
                number=FEWEST_PATIENTS
            )
        )
    return " ".join(lines)


def trainingText(name: str) -> str:
    """Which training of a comparison is meant: ``fold-0/seed-0/n-009/all/final``."""
    found = re.fullmatch(r"fold-\d+/seed-\d+/n-(\d+)/([^/]+)/.*", name)
    if not found:
        return name
    return _("{strategy} on {number} patients").format(strategy=found[2], number=int(found[1]))


def findingText(comparison: Comparison, finding: Finding, isCurrent: bool) -> str:
    """The answer, how sure it is, and what it was made of; HTML."""
    first, *more = finding.sentences or (finding.strategy,)
    parts = [f"<b>{html.escape(first)}</b>", *map(html.escape, more)]
    if finding.failed:
        total = finding.trainings + finding.failed
        parts.append(_("{number} of {total} trainings failed.").format(number=finding.failed, total=total))
    made = _("Compared on {number} patients, from {source}, with {epochs} epochs.").format(
        number=comparison.patients, source=html.escape(comparison.source), epochs=comparison.options.get("epochs", "?")
    )
    if not isCurrent:
        made += " " + _("Cases or choices have changed since.")
    return "".join(f'<p style="margin: 0 0 4px 0">{part}</p>' for part in (*parts, f"<i>{made}</i>"))


def comparisonEnded(finding: Finding, before: str, now: str) -> str:
    """What a comparison has done to the choice of the strategy. Empty ``before``: the user has chosen meanwhile."""
    if not finding.recommends:
        return _("Done: no strategy is clearly the best.")
    if now != finding.strategy:
        return _("Done: '{strategy}' is recommended. Your choice, '{now}', stays.").format(
            strategy=finding.strategy, now=now
        )
    if before and before != now:
        return _("Done: '{strategy}' is chosen now; it was '{before}'.").format(strategy=now, before=before)
    return _("Done: '{strategy}' is recommended, which is chosen already.").format(strategy=now)


def _listed(things: Sequence[object]) -> str:
    *first, last = map(str, things)
    return _("{first} and {last}").format(first=", ".join(first), last=last) if first else last
