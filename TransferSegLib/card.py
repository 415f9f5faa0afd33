"""The card of a model: what it sees, what it answers, how it was made and how good it is (``model.json``, format 1).

A card is read from files that come from anywhere, so that every field is checked, unknown ones are refused, and what is
wrong is said in one sentence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from .card_parts import (
    PATTERNS_IN_WORDS,
    Cases,
    Channels,
    Labels,
    Millimetres,
    Network,
    Part,
    Score,
    Sha256,
    Side,
    Slug,
    Step,
    Text,
    Training,
    case_hash,
    hashed_cases,
)
from .errors import ModelError, needs
from .labels import LabelScheme

with needs("pydantic"):
    from pydantic import BaseModel, ValidationError, model_validator

__all__ = ["Card", "Cases", "Labels", "Network", "Score", "Training", "card_schema", "case_hash", "hashed_cases"]

FORMAT: Final = 1

# For the makers of cards: what holds for every model of this library unless its maker knows better.
INTENDED_USE = (
    "Research on brain MRI only. Not a medical device: not for diagnosis, and not for decisions about patients."
)
LIMITATIONS = (
    "Expect worse results on scanners, sequences, ages and diseases that the training data did not hold. "
    "Check every segmentation by eye before it is used."
)

_REMEDY = "Get the model again from whoever made it."


class Card(Part):
    """The card. Make it with :meth:`from_dict`, which says in words what is wrong.

    Attributes
    ----------
    name : lower-case letters, digits, ``.``, ``_`` and ``-``.
    channels : in the order of the network's input.
    preprocessing : ``{"step": name, **parameters}``, in order; learned values are parameters.
    spacing_mm : the voxels the network sees; None: each image's own.
    shape : the grid the network sees; None: the brain's box.
    weights_sha256 : of the file ``weights.safetensors``.
    """

    format: Literal[1] = FORMAT
    name: Slug
    version: Text
    title: Text
    description: Text
    intended_use: Text
    limitations: Text
    licence: Text
    citations: tuple[Text, ...]
    channels: Channels
    labels: Labels
    network: Network
    preprocessing: tuple[Step, ...]
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres] | None
    shape: tuple[Side, Side, Side] | None
    training: Training
    metrics: tuple[Score, ...]
    weights_sha256: Sha256

    @model_validator(mode="after")
    def _is_consistent(self) -> Card:
        network = self.network
        if network.in_channels != len(self.channels):
            raise ValueError(f"the network takes {network.in_channels} channels, the card names {len(self.channels)}")
        if network.classes != len(self.labels.classes):
            raise ValueError(f"the network has {network.classes} classes, the labels {len(self.labels.classes)}")
        multiple = 2 ** (network.steps - 1)
        if self.shape is not None and any(side % multiple for side in self.shape):
            raise ValueError(f"the sides of the shape {self.shape} do not divide by {multiple}")
        return self

    @property
    def scheme(self) -> LabelScheme:
        """The labels as the rest of the library uses them."""
        return LabelScheme.from_dict(self.labels.model_dump())

    def contains_case(self, name: str) -> bool:
        """Whether the case ``name`` was used in training."""
        cases = self.training.cases
        return case_hash(cases.salt, name) in cases.hashes

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the content of ``model.json``."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """The text of ``model.json``."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return re.sub(r"\[\n([^\[\]{}]{1,200}?)\n\s*\]", _on_one_line, text)

    def replace(self, **changes: Any) -> Card:
        """The same card with other values in some fields, checked again.

        Raises
        ------
        ModelError : a field is unknown or wrong.
        """
        return self.from_dict({**self.to_dict(), **changes})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Card:
        """A card from its fields. Parts may be plain data, parts of this file, a LabelScheme, or NumPy values.

        Raises
        ------
        ModelError : a field is missing, unknown or wrong.
        """
        try:
            text = json.dumps({"format": FORMAT, **data}, default=_plain, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ModelError(f"The model card cannot hold a value: {error}.", "Use plain finite values.") from error
        try:
            return cls.from_json(text)
        except ModelError as error:  # no file to get again
            raise ModelError(error.cause, "Correct the value.") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """A card from the content of ``model.json``.

        Raises
        ------
        ModelError : it is no JSON, of a newer format, or a field is missing, unknown or wrong.
        """
        try:
            text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
            data = json.loads(text, parse_float=_finite, parse_constant=_finite)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise ModelError(f"The model card is not valid JSON ({where}).", _REMEDY) from error
        except (ValueError, RecursionError) as error:  # not UTF-8, absurdly long numbers, absurdly deep lists
            raise ModelError("The model card is not valid JSON.", _REMEDY) from error
        if not isinstance(data, dict):
            raise ModelError("The model card is not a JSON object.", _REMEDY)
        _check_format(data)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise _explained(error) from error


def card_schema() -> dict[str, Any]:
    """JSON Schema of ``model.json``. A copy is committed as ``TransferSegLib/model.schema.json``."""
    # The form that is written: there all fields are required, in Python `format` has a default.
    schema = Card.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ModelError(f"The model card holds the number {number}.", _REMEDY)
    return value


def _check_format(data: Mapping[str, Any]) -> None:
    """Before anything else: of a newer card nothing but the format is known."""
    if "format" not in data:
        raise ModelError("The model card has no 'format'.", _REMEDY)
    found = data["format"]
    if type(found) is not int or found < 1:  # a bool is an int too
        raise ModelError(f"The model card's 'format' is wrong: it should be {FORMAT}.", _REMEDY)
    if found > FORMAT:
        raise ModelError(
            f"The model was made by a newer TransferSeg (format {found}, this one reads up to {FORMAT}).",
            "Update TransferSeg.",
        )


def _explained(error: ValidationError) -> ModelError:
    """The first thing that is wrong, in one sentence."""
    problems = error.errors(include_url=False, include_input=False)
    field = ".".join(str(part) for part in problems[0]["loc"])
    message = PATTERNS_IN_WORDS.get(problems[0].get("ctx", {}).get("pattern", ""), problems[0]["msg"])
    reason = message.removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    more = f" ({len(problems) - 1} more of its fields are wrong too)" if len(problems) > 1 else ""
    if problems[0]["type"] == "json_invalid":  # what only pydantic minds, for instance half a Unicode character
        return ModelError("The model card is not valid JSON.", _REMEDY)
    if problems[0]["type"] == "missing":
        return ModelError(f"The model card has no '{field}'{more}.", _REMEDY)
    if problems[0]["type"] == "extra_forbidden":
        return ModelError(f"The model card has the unknown field '{field}'{more}.", _REMEDY)
    if not field:
        return ModelError(f"The model card contradicts itself: {reason}{more}.", _REMEDY)
    return ModelError(f"The model card's '{field}' is wrong: {reason}{more}.", _REMEDY)


def _on_one_line(found: re.Match[str]) -> str:
    """A short list of plain values, which reads better so. No string holds a bare line break: none changes."""
    return "[" + re.sub(r"\n\s*", " ", found[1].strip()) + "]"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, LabelScheme):
        return value.to_dict()
    if hasattr(value, "tolist"):  # a NumPy array or number
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON type")
