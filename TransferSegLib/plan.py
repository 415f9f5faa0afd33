"""Plan of a run: which cases in which roles, what the labels mean, what the network sees and what is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .case_files import CHANNELS, CaseFiles, check_channels
from .datasets import Dataset, find_cases
from .errors import InputError
from .events import OnEvent, Warning, ignore
from .labels import LabelScheme
from .model import Model
from .preparation import Preparation
from .preprocess import NORMALISATIONS, Pipeline
from .preprocess.align import Align
from .preprocess.brain import FindBrain
from .preprocess.crop import CropToBrain, PadOrCrop
from .preprocess.n4 import CorrectBias
from .preprocess.nyul import Standardise
from .preprocess.respace import Respace
from .preprocess.to_template import ToTemplate
from .recipe import Recipe
from .schemes import choose_scheme
from .splits import Roles, assign_roles
from .strategies import Strategy, find_strategy


@dataclass(frozen=True)
class Plan:
    """All that is decided before anything is computed.

    Attributes
    ----------
    parent : the source model, or None for a training from scratch without one.
    statistics : of batch normalisation, see :data:`network.STATISTICS`.
    """

    strategy: Strategy
    parent: Model | None
    recipe: Recipe
    scheme: LabelScheme
    channels: tuple[str, ...]
    pipeline: Pipeline
    roles: Roles
    statistics: str

    @property
    def network_parameters(self) -> dict[str, Any]:
        """Keyword arguments of :class:`network.UNet`; filters and steps are the source's."""
        parent = self.parent.card.network if self.parent else None
        return {
            "in_channels": len(self.channels),
            "classes": len(self.scheme),
            "base_filters": parent.base_filters if parent else 4,
            "steps": parent.steps if parent else 4,
            "statistics": self.statistics,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on, besides its recipe and its cases; JSON data."""
        return {
            "strategy": self.strategy.name,
            "source": self.parent.sha256 if self.parent else None,
            "channels": self.channels,
            "labels": self.scheme.meaning(),
            "pre-processing": self.pipeline.to_card(),
            "statistics": self.statistics,
        }


def make_plan(
    dataset: str | Path | Dataset | Sequence[CaseFiles],
    parent: Model | None,
    strategy: str,
    recipe: Recipe,
    labels: str | Path | LabelScheme | None,
    channels: Sequence[str] | None,
    preparation: Preparation,
    statistics: str | None,
    validation: float | Sequence[str],
    held_out: float | Sequence[str],
    on_event: OnEvent,
) -> Plan:
    """Decide everything; parameters as in :func:`runs.fine_tune`.

    Raises
    ------
    InputError : something is missing or does not fit together.
    """
    chosen = find_strategy(strategy)
    if parent is None and chosen.name != "scratch":
        raise InputError(f"The strategy '{chosen.name}' needs a source model.", "Give one with --source.")
    wanted = choose_channels(channels, parent)
    cases, known = annotated_cases(dataset, on_event, wanted)
    for case in cases:
        case.require(wanted)
    plan = Plan(
        chosen,
        parent,
        recipe,
        choose_scheme(labels, known, [case.label for case in cases if case.label]),
        wanted,
        make_pipeline(parent, preparation, on_event),
        assign_roles(cases, validation, held_out, recipe.seed),
        statistics or (parent.card.network.statistics if parent else "image"),
    )
    _warn_leaks(plan, on_event)
    return plan


def choose_channels(channels: Sequence[str] | None, parent: Model | None) -> tuple[str, ...]:
    """What was chosen, or else the source's channels, or else ``CHANNELS``.

    Raises
    ------
    InputError : see :func:`case_files.check_channels`.
    """
    wanted = tuple(channels or (parent.card.channels if parent else CHANNELS))
    check_channels(wanted)
    return wanted


def annotated_cases(
    dataset: str | Path | Dataset | Sequence[CaseFiles],
    on_event: OnEvent = ignore,
    channels: Sequence[str] = CHANNELS,
) -> tuple[list[CaseFiles], LabelScheme | None]:
    """The cases with label maps, and what the layout says the labels mean.

    Parameters
    ----------
    channels : the ones to look for in a folder, see :func:`datasets.find_cases`.
    """
    if isinstance(dataset, str | Path):
        dataset = find_cases(dataset, channels)
    every = list(dataset.cases if isinstance(dataset, Dataset) else dataset)
    cases = [case for case in every if case.label is not None]
    if not cases:
        raise InputError("No case has a reference label map.", "Add label maps, or list them in a manifest CSV.")
    if len(cases) < len(every):
        without = [case.name for case in every if case.label is None]
        on_event(Warning(f"{len(without)} cases without a label map are left out: {', '.join(without[:5])}."))
    return cases, dataset.scheme if isinstance(dataset, Dataset) else None


def make_pipeline(parent: Model | None, preparation: Preparation, on_event: OnEvent = ignore) -> Pipeline:
    """The source's pre-processing, or the default one, with what was chosen otherwise.

    Choosing to standardise learns the scale anew; not choosing it keeps what the source learned.
    """
    pipeline = Pipeline.from_card(parent.card.preprocessing) if parent else Pipeline()
    before, chosen = pipeline.spacing_mm, preparation.chosen()
    for name, value in chosen.items():
        pipeline = _CHANGES[name](pipeline, value)
    if parent and pipeline.spacing_mm != before:
        on_event(Warning(f"The source was trained at {before} mm, this run works at {chosen['spacing']:g} mm."))
    return pipeline


def _spaced(pipeline: Pipeline, spacing: float) -> Pipeline:
    steps = [step for step in pipeline.geometry if not isinstance(step, Respace)]
    at = 1 if steps and steps[0].step == "reorient" else 0
    return replace(pipeline, geometry=(*steps[:at], Respace((float(spacing),) * 3), *steps[at:]))


def _shaped(pipeline: Pipeline, shape: str) -> Pipeline:
    kept = [step for step in pipeline.geometry if not isinstance(step, CropToBrain | PadOrCrop)]
    return replace(pipeline, geometry=(*kept, CropToBrain() if shape == "brain" else PadOrCrop()))


def _normalised(pipeline: Pipeline, name: str) -> Pipeline:
    kept = [step for step in pipeline.intensity if isinstance(step, Standardise)]
    return replace(pipeline, intensity=(*kept, *NORMALISATIONS[name]))


def _standardised(pipeline: Pipeline, name: str) -> Pipeline:
    rest = [step for step in pipeline.intensity if not isinstance(step, Standardise)]
    return replace(pipeline, intensity=(*((Standardise(),) if name == "nyul" else ()), *rest))


# How each choice changes the pipeline.
_CHANGES: dict[str, Callable[[Pipeline, Any], Pipeline]] = {
    "spacing": _spaced,
    "align": lambda pipeline, method: replace(pipeline, align=Align(method)),
    "brain": lambda pipeline, method: replace(pipeline, brain=FindBrain(method)),
    "bias": lambda pipeline, name: replace(pipeline, bias=CorrectBias() if name == "n4" else None),
    "space": lambda pipeline, name: replace(pipeline, template=ToTemplate() if name == "mni" else None),
    "shape": _shaped,
    "normalise": _normalised,
    "standardise": _standardised,
}


def _warn_leaks(plan: Plan, on_event: OnEvent) -> None:
    if plan.parent is None or plan.strategy.name == "scratch":
        return
    for case in (*plan.roles.validation, *plan.roles.held_out):
        if plan.parent.card.contains_case(case.name):
            on_event(Warning("The source model has seen this case: its score will be too good.", case.name))
