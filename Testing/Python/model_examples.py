"""A card and a model for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from TransferSegLib.card import INTENDED_USE, LIMITATIONS, hashed_cases
from TransferSegLib.labels import GLIOMA
from TransferSegLib.model import Model, new_model

CASES = ("patient 1", "patient 2", "patient 3")


def card_fields(**changes: Any) -> dict[str, Any]:
    """A complete card but for the hash of the weights."""
    fields = {
        "name": "glioma-ft-all",
        "version": "1.0",
        "title": "Glioma, adapted from MS lesions",
        "description": "Segments the parts of a glioma on four MRI sequences.",
        "intended_use": INTENDED_USE,
        "limitations": LIMITATIONS,
        "licence": "Apache-2.0",
        "citations": ["Kaur et al. 2019, doi:10.1007/978-3-030-33391-1_6"],
        "channels": ["t1", "t1c", "t2", "flair"],
        "labels": GLIOMA.to_dict(),
        "network": {"in_channels": 4, "classes": 4, "base_filters": 4, "steps": 4},
        "preprocessing": [
            {"step": "respace", "spacing_mm": [1.0, 1.0, 1.0]},
            {"step": "nyul", "landmarks": {"t1": [0.0, 10.5, 50.25, 100.0]}},
            {"step": "z-score", "clip": None, "over_brain": True},
        ],
        "spacing_mm": [1.0, 1.0, 1.0],
        "shape": [240, 192, 192],
        "training": {
            "parent": "ms-lesion",
            "parent_sha256": "a" * 64,
            "strategy": "all",
            "hyperparameters": {"learning_rate": 1e-4, "epochs": 200, "augment": True},
            "seed": 7,
            "cases": hashed_cases(CASES, salt="0f1e2d3c", groups={"HGG": 2, "LGG": 1}),
            "frozen_hash_before": None,
            "frozen_hash_after": None,
            "libraries": {"torch": "2.13.0", "TransferSegLib": "0.1.0"},
            "date": "2025-11-23T14:05:00+00:00",
        },
        "metrics": [
            score("whole", mean=0.8512, sd=0.0621, median=0.8702, ci_low=0.8301, ci_high=0.8722),
            score("enhancing", mean=0.7, sd=None, median=None, ci_low=None, ci_high=None),
        ],
    }
    return {**fields, **changes}


def score(region: str, **numbers: float | None) -> dict[str, Any]:
    return {"data": "held-out", "cases": 25, "region": region, "metric": "Dice", **numbers}


def small_weights() -> dict[str, Any]:
    """Tensors that fit no network: most of what happens to files needs none."""
    return {"conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "norm.count": np.array(3, np.int64)}


def small_model(**changes: Any) -> Model:
    return new_model(card_fields(**changes), small_weights())
