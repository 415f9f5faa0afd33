"""The parts of a model's card (:mod:`TransferSegLib.card`) and the types of their fields."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Literal

from .case_files import check_channels
from .errors import InputError, needs
from .labels import LabelScheme

with needs("pydantic"):
    from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator


def _check_date(value: str) -> str:
    datetime.fromisoformat(value)
    return value


def _check_step(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if not isinstance(value.get("step"), str) or not value["step"]:
        raise ValueError("it has no 'step', the name of what is done")
    return value


def _check_channels(value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        check_channels(value)
    except InputError as error:
        raise ValueError(error.cause.rstrip(".")) from error
    return value


# Names a folder on every system, and is safe in a command line.
SLUG = r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"
SHA256 = r"^[0-9a-f]{64}$"
PATTERNS_IN_WORDS = {
    SLUG: "use up to 64 lower-case letters, digits, '.', '_' and '-', with a letter or digit at both ends",
    SHA256: "a SHA-256 has 64 hexadecimal digits",
}

Text = Annotated[str, StringConstraints(min_length=1)]
Slug = Annotated[str, StringConstraints(pattern=SLUG)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256)]
Date = Annotated[
    str, AfterValidator(_check_date), Field(description="ISO 8601, for instance 2025-11-23T14:05:00+01:00")
]
Channels = Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_check_channels)]
Count = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=1, le=4096)]
Millimetres = Annotated[float, Field(gt=0, le=100)]
Parameters = dict[str, JsonValue]
Step = Annotated[
    Parameters,
    AfterValidator(_check_step),
    Field(json_schema_extra={"required": ["step"]}, description="step: its name"),
]


class Part(BaseModel):
    """Base of the card and its parts. Made from Python, a part raises pydantic's ``ValidationError``."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )


class Network(Part):
    """The parameters of :class:`TransferSegLib.network.UNet`. Bounded, so that no card can ask for all the memory."""

    in_channels: int = Field(ge=1, le=64)
    classes: int = Field(ge=2, le=256)
    base_filters: int = Field(ge=1, le=64)
    steps: int = Field(ge=2, le=7)
    statistics: Literal["running", "image"] = "running"


class ClassOfLabels(Part):
    """One class, as in :meth:`LabelScheme.to_dict`."""

    name: Text
    codes: tuple[int, ...]
    color: tuple[int, int, int]
    snomed: tuple[str, str] | None


class Labels(Part):
    """A label scheme in the form of :meth:`LabelScheme.to_dict`."""

    name: Text
    classes: tuple[ClassOfLabels, ...]
    regions: dict[str, tuple[str, ...]]

    @model_validator(mode="after")
    def _is_a_scheme(self) -> Labels:
        try:
            LabelScheme.from_dict(self.model_dump())
        except InputError as error:
            raise ValueError(error.cause.rstrip(".")) from error
        return self


class Cases(Part):
    """The cases a training saw, those that chose its best epoch too. Never names or paths.

    Attributes
    ----------
    groups : cases in each stratum, for instance ``{"HGG": 30, "LGG": 20}``; may be empty.
    hashes : :func:`case_hash` of each case, sorted.
    """

    count: Count
    groups: dict[str, Count]
    hashes: tuple[Sha256, ...]
    salt: Text

    @model_validator(mode="after")
    def _adds_up(self) -> Cases:
        if len(self.hashes) != self.count:
            raise ValueError(f"there are {self.count} cases but {len(self.hashes)} hashes")
        if self.groups and sum(self.groups.values()) != self.count:
            raise ValueError(f"the groups hold {sum(self.groups.values())} cases, not {self.count}")
        return self


class Training(Part):
    """How the weights came to be.

    Attributes
    ----------
    parent, parent_sha256 : name and weights of the source model; None for a training from scratch.
    frozen_hash_before, frozen_hash_after : of all frozen tensors; None when nothing was frozen.
    libraries : package to version.
    """

    parent: Text | None
    parent_sha256: Sha256 | None
    strategy: Text
    hyperparameters: Parameters
    seed: int
    cases: Cases
    frozen_hash_before: Text | None
    frozen_hash_after: Text | None
    libraries: dict[str, str]
    date: Date


class Score(Part):
    """One metric of one region over ``cases`` cases of ``data``. A number that is not known or not defined is None.

    Attributes
    ----------
    data : what was measured on: ``"held-out"``, ``"validation"``, ``"cross-validation"``...
    ci_low, ci_high : 95 % confidence interval of the mean.
    """

    data: Text
    cases: Count
    region: Text
    metric: Text
    mean: float | None
    sd: float | None
    median: float | None
    ci_low: float | None
    ci_high: float | None


def case_hash(salt: str, name: str) -> str:
    """Salted SHA-256 of a case's name: a card can be asked about a case but does not tell which ones it holds.

    It hides a name from readers, not from those who can guess it. Accents are hashed
    the same however the system spells them (macOS stores them apart from their letters).
    """
    text = f"{salt}:{unicodedata.normalize('NFC', name)}"
    # File names on Linux need not be UTF-8; Python then holds lone surrogates.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hashed_cases(names: Iterable[str], salt: str, groups: Mapping[str, int] | None = None) -> Cases:
    """The record of the training cases ``names``.

    Parameters
    ----------
    salt : random text, other for each model, for instance ``secrets.token_hex(16)``.
    groups : cases in each stratum.
    """
    hashes = sorted(case_hash(salt, name) for name in names)
    return Cases(count=len(hashes), groups=dict(groups or {}), hashes=tuple(hashes), salt=salt)
