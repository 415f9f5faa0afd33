"""What a maker says of a model before giving it away: its card's text, and scores that were measured elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .bundle import read_bundle, write_bundle
from .errors import InputError
from .evaluation import Evaluation, read_metrics
from .record import card_scores
from .registry import find_model

# The fields of a card that are for people.
_TEXTS = ("title", "description", "intended_use", "limitations", "licence", "version")
_LISTS = ("citations",)


def describe_model(
    source: str | Path,
    out: str | Path,
    about: str | Path | Mapping[str, Any] | None = None,
    scores: Mapping[str, str | Path] | None = None,
) -> Path:
    """Write a copy of a model with another text on its card, and with more scores. Weights stay as they are.

    Parameters
    ----------
    source : a model: a name, a folder or a zip.
    out : a folder or a ``.zip``.
    about : what the card shall say: some of ``title``, ``description``, ``intended_use``, ``limitations``, ``licence``,
        ``version`` and ``citations`` (a list), as a mapping or a JSON file.
    scores : what was measured on, for instance ``"leave-one-out"``, to the ``metrics.csv`` of the measurement; they
        take the place of scores of the same name.

    Returns
    -------
    What was written.

    Raises
    ------
    InputError : a file cannot be read, or a field is unknown.
    ModelError : the model is damaged, or the card would not be valid.
    """
    bundle = read_bundle(find_model(source))
    changes = _read_about(about) if about is not None else {}
    added = {name: card_scores(Evaluation.of(read_metrics(path)), name) for name, path in (scores or {}).items()}
    kept = [score for score in bundle.card.to_dict()["metrics"] if score["data"] not in added]
    changes["metrics"] = [*kept, *(score for found in added.values() for score in found)]
    return write_bundle(Path(out), bundle.card.replace(**changes), bundle.data)


def _read_about(about: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(about, str | Path):
        try:
            about = json.loads(Path(about).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{about} cannot be read: {error}.", "Give a JSON file.") from error
    if not isinstance(about, Mapping):
        raise InputError("The text for the card is no JSON object.", f"Give some of {', '.join((*_TEXTS, *_LISTS))}.")
    for name, value in about.items():
        if name not in (*_TEXTS, *_LISTS):
            raise InputError(f"A card has no text '{name}'.", f"Give some of {', '.join((*_TEXTS, *_LISTS))}.")
        good = isinstance(value, str) if name in _TEXTS else isinstance(value, list)
        if not good:
            raise InputError(f"'{name}' of the card is no {'text' if name in _TEXTS else 'list'}.", "Mend it.")
    return dict(about)
