"""The record of a run: its model with an honest card, and its history."""

from __future__ import annotations

import csv
import importlib.metadata
import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from .card import INTENDED_USE, LIMITATIONS, Card, hashed_cases
from .errors import InputError, ModelError
from .evaluation import Evaluation
from .files import atomic_path
from .model import Model, new_model
from .plan import Plan
from .strategies import LAYER_GROUPS
from .training import Training

PAPER = (
    "Kaur B, Lemaitre P, Mehta R, et al. Improving Pathological Structure Segmentation via Transfer Learning Across "
    "Diseases. DART/MIL3ID 2019, LNCS 11795. doi:10.1007/978-3-030-33391-1_11"
)


# The metrics of the held-out cases that stand on the card.
_ON_CARD = ("dice", "sensitivity", "hd95_mm", "volume_difference_ml", "lesion_f1", "pr_auc")


@dataclass(frozen=True)
class RunRecord:
    """What is known once a training has ended.

    Attributes
    ----------
    name : of the model; made into lower-case letters, digits, ``.``, ``_`` and ``-``.
    frozen_hashes : of the frozen tensors before and after the training.
    """

    plan: Plan
    training: Training
    name: str
    licence: str
    citations: tuple[str, ...]
    frozen_hashes: tuple[str, str]
    salt: str = field(default_factory=lambda: secrets.token_hex(16))

    def model(self, held_out: Evaluation | None = None) -> Model:
        """The model of the best epoch, its card with the scores on validation and on held-out cases."""
        scores = self._validation_scores() + (card_scores(held_out, "held-out") if held_out else [])
        return new_model({**self._card(), "metrics": scores}, self.training.weights)

    def summary(self, path: Path, held_out: Evaluation | None) -> dict[str, Any]:
        """Key numbers for the result event."""
        values: dict[str, Any] = {
            "model": path,
            "best_epoch": self.training.best_epoch,
            "epochs": len(self.training.history),
            "cancelled": self.training.cancelled,
        }
        for region in self.plan.scheme.regions if held_out else ():
            assert held_out is not None
            values[f"held-out dice {region}"] = round(held_out.summary(region, "dice").mean, 4)
        return values

    def _card(self) -> dict[str, Any]:
        plan = self.plan
        parent = plan.parent.card if plan.parent and plan.strategy.name != "scratch" else None
        origin = "trained from random weights"
        if parent is not None:
            origin = f"fine-tuned from {parent.name} with the strategy '{plan.strategy.name}'"
        return {
            "name": re.sub(r"[^a-z0-9._-]+", "-", self.name.lower()).strip("-._")[:64].rstrip("-._") or "model",
            "version": "1.0",
            "title": f"{plan.scheme.name.capitalize()} segmentation, {origin}",
            "description": f"A 3D U-Net {origin} on {len(plan.roles.training)} cases. {plan.strategy.explanation}",
            "intended_use": INTENDED_USE,
            "limitations": LIMITATIONS,
            "licence": self.licence,
            "citations": [*self.citations, PAPER],
            "channels": plan.channels,
            "labels": plan.scheme,
            "network": plan.network_parameters,
            "preprocessing": plan.pipeline.to_card(),
            "spacing_mm": plan.pipeline.spacing_mm,
            "shape": plan.pipeline.shape,
            "training": self._training(parent),
        }

    def _training(self, parent: Card | None) -> dict[str, Any]:
        seen = [*self.plan.roles.training, *self.plan.roles.validation]
        groups = Counter(case.group for case in seen) if all(case.group for case in seen) else None
        frozen = self.plan.strategy.trained != tuple(LAYER_GROUPS)
        return {
            "parent": parent.name if parent else None,
            "parent_sha256": parent.weights_sha256 if parent else None,
            "strategy": self.plan.strategy.name,
            "hyperparameters": {**asdict(self.plan.recipe), "best_epoch": self.training.best_epoch},
            "seed": self.plan.recipe.seed,
            "cases": hashed_cases([case.name for case in seen], self.salt, groups),
            "frozen_hash_before": self.frozen_hashes[0] if frozen else None,
            "frozen_hash_after": self.frozen_hashes[1] if frozen else None,
            "libraries": libraries(),
            "date": date.today().isoformat(),
        }

    def _validation_scores(self) -> list[dict[str, Any]]:
        row = self.training.history[self.training.best_epoch - 1]
        count = len(self.plan.roles.validation)
        data = "validation (chose the epoch)"
        scores = [
            _score(data, count, region, "dice", float(row[f"dice_{region}"]))
            for region in self.plan.scheme.regions
            if f"dice_{region}" in row
        ]
        if "pr_auc" in row:
            scores.append(_score(data, count, next(iter(self.plan.scheme.regions)), "pr_auc", float(row["pr_auc"])))
        return scores


def check_card(plan: Plan, name: str, licence: str, citations: tuple[str, ...]) -> None:
    """That the card of a run can be written, told before the run and not after it.

    Raises
    ------
    InputError : something that the user chose cannot stand on a card.
    """
    record = RunRecord(plan, Training({}, 1, (), cancelled=False), name, licence, citations, ("unknown", "unknown"))
    try:
        Card.from_dict({**record._card(), "metrics": [], "weights_sha256": "0" * 64})
    except ModelError as error:
        raise InputError(error.cause, error.remedy) from error


def card_scores(evaluation: Evaluation, data: str) -> list[dict[str, Any]]:
    """The scores of ``evaluation`` that stand on a card, measured on ``data``, for instance ``"held-out"``."""
    return [
        _score(
            data,
            item.n,
            item.region,
            item.metric,
            item.mean,
            item.sd,
            item.median,
            item.ci95_low,
            item.ci95_high,
        )
        for item in evaluation.summaries
        if item.metric in _ON_CARD
    ]


def _score(
    data: str,
    cases: int,
    region: str,
    metric: str,
    mean: float,
    sd: float = np.nan,
    median: float = np.nan,
    ci_low: float = np.nan,
    ci_high: float = np.nan,
) -> dict[str, Any]:
    numbers = {"mean": mean, "sd": sd, "median": median, "ci_low": ci_low, "ci_high": ci_high}
    plain = {key: round(float(value), 6) if np.isfinite(value) else None for key, value in numbers.items()}
    return {"data": data, "cases": cases, "region": region, "metric": metric, **plain}


def libraries() -> dict[str, str]:
    """The version of each library that decides what comes out."""
    names = ("TransferSegLib", "torch", "numpy", "scipy", "nibabel", "SimpleITK", "monai")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from the source tree
            continue
    return found


def write_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """A row for each epoch: loss, learning rate, validation metrics, seconds."""
    with atomic_path(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
