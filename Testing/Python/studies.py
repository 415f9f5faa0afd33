"""A small study on phantoms, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brains import SPACING_MM, write_dataset

from TransferSegLib.events import Event, Progress
from TransferSegLib.preparation import Preparation
from TransferSegLib.study.conduct import Study, run_study
from TransferSegLib.study.design import Design

PATIENTS = 10

# Two sizes, two settings to choose from, two strategies: 4 cells with 4 trainings that choose and a final one each.
DESIGN = Design(
    sizes=(2, 4),
    strategies=("scratch", "all"),
    seeds=1,
    test=2,
    validation=2,
    folds=2,
    varied={"learning_rate": (0.01, 0.003)},
    steps=4,
)


def tumours(folder: Path) -> Path:
    """The dataset, made once."""
    root = folder / "tumours"
    return root if root.exists() else write_dataset(root, PATIENTS)


def conduct(folder: Path, out: Path, design: Design = DESIGN, **options: Any) -> Study:
    """The study on the phantoms of ``folder``, which share their cache."""
    options = {"preparation": Preparation(spacing=SPACING_MM), "cache": folder / "cache", **options}
    return run_study(tumours(folder), out, "ms-lesion-fast", design, **options)


def trained(events: Sequence[Event]) -> list[str]:
    """The trainings that were worked on, by what the progress of the study tells."""
    told = [event for event in events if isinstance(event, Progress) and event.stage == "study"]
    return list(dict.fromkeys(event.detail for event in told))
