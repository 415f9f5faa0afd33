"""Design: what a study compares, and how; the protocol of Kaur et al. 2019 (section 3.3) with its numbers as fields."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_type_hints

from ..errors import InputError
from ..recipe import Recipe
from ..strategies import find_strategy

# Hyper-parameters by name, as they stand in a :class:`Recipe`.
Setting = Mapping[str, Any]


@dataclass(frozen=True)
class Design:
    """What is compared with what.

    Attributes
    ----------
    sizes : how many patients are trained on, ascending. Smaller training sets lie within the larger ones.
    strategies : see :data:`strategies.STRATEGIES`. The baseline is ``scratch``.
    seeds : how many times all is repeated, each time with other training patients, folds and random weights.
    test : patients to test on: a share, a number, or the names of their cases; nobody trains on them.
    test_folds : 2 or more: instead of ``test``, each patient is tested on once, in so many parts, and trained on in
        the others. For few cases.
    validation : patients that choose the best epoch, a share or a number; 0: the last epoch is taken.
    folds : parts of a training set in the cross-validation that chooses the hyper-parameters.
    varied : the values of each hyper-parameter to choose from; with one value each nothing is to be chosen.
    recipe : all other hyper-parameters.
    steps : training steps of every training, however many cases it has, in place of ``recipe.epochs``; 0: the epochs.

    Raises
    ------
    InputError : a value makes no sense; names the option.
    """

    sizes: tuple[int, ...] = (20, 50, 100, 150)
    strategies: tuple[str, ...] = ("scratch", "last-three", "decoder", "all")
    seeds: int = 3
    test: float | int | tuple[str, ...] = 66
    test_folds: int = 1
    validation: float | int = 50
    folds: int = 4
    varied: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    steps: int = 0

    def __post_init__(self) -> None:
        for name in self.strategies:
            find_strategy(name)
        checks = {
            "sizes": bool(self.sizes) and list(self.sizes) == sorted({*self.sizes}) and self.sizes[0] >= 1,
            "strategies": len({*self.strategies}) == len(self.strategies) > 0,
            "seeds": self.seeds >= 1,
            "test-folds": self.test_folds >= 1,
            "validation": not isinstance(self.validation, tuple) and self.validation >= 0,
            "test": isinstance(self.test, tuple) or self.test >= 0,
            "folds": self.folds >= 2,
            "steps": self.steps >= 0,
        }
        for name, good in checks.items():
            if not good:
                value = getattr(self, name.replace("-", "_"))
                shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
                raise InputError(f"--{name} cannot be '{shown}'.", _ABOUT[name])
        if self.recipe.seed:
            raise InputError(
                f"--seed cannot be {self.recipe.seed}: repetitions are numbered from 0.", "Give --seeds to have more."
            )
        if self.steps and "epochs" in self.varied:
            raise InputError("The epochs follow from --steps.", "Leave one of them out.")
        if self.chooses and self.sizes[0] < self.folds:
            raise InputError(
                f"{self.sizes[0]} patients cannot be dealt into {self.folds} folds to choose hyper-parameters.",
                "Use larger --sizes, fewer --folds, or one value for each setting.",
            )
        for setting in self.settings:
            self.recipe_for(setting, self.sizes[0], 0)  # values that make no sense are told now

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every combination of the varied hyper-parameters; the first is taken where two are equally good."""
        combinations = itertools.product(*self.varied.values())
        return tuple(dict(zip(self.varied, values, strict=True)) for values in combinations)

    @property
    def chooses(self) -> bool:
        """Whether there are hyper-parameters to choose."""
        return len(self.settings) > 1

    @property
    def fixed_recipe(self) -> Recipe:
        """What all trainings have in common; of a hyper-parameter that is chosen the first value."""
        return replace(self.recipe, **{name: values[0] for name, values in self.varied.items()})

    def recipe_for(self, setting: Setting, cases: int, seed: int) -> Recipe:
        """The recipe of a training on so many ``cases``."""
        recipe = replace(self.recipe, **setting, seed=seed)
        if not self.steps:
            return recipe
        return replace(recipe, epochs=max(1, math.ceil(self.steps / recipe.steps_per_epoch(cases))))

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {
            item.name: _plain(getattr(self, item.name))
            for item in fields(self)
            if item.name not in ("recipe", "varied")
        } | {
            "varied": {name: [_plain(value) for value in values] for name, values in self.varied.items()},
            "recipe": {item.name: _plain(getattr(self.recipe, item.name)) for item in fields(Recipe)},
        }


_ABOUT = {
    "sizes": "Give numbers of patients, ascending: --sizes 20,50,100.",
    "strategies": "Name each strategy once.",
    "seeds": "Give 1 or more.",
    "test-folds": "Give 1 for a test set, or 2 or more.",
    "validation": "Give a share, a number of patients, or 0.",
    "test": "Give a share, a number of patients, or names of cases.",
    "folds": "Give 2 or more.",
    "steps": "Give a number of training steps, or 0.",
}


@dataclass(frozen=True)
class Protocol:
    """A design for a purpose.

    Attributes
    ----------
    spacing : working voxel size in mm.
    """

    about: str
    design: Design
    spacing: float


PROTOCOLS: Mapping[str, Protocol] = {
    "paper": Protocol(
        "full sizes at 1 mm as in Kaur et al. 2019; for a GPU",
        Design(
            varied={"learning_rate": (1e-2, 3e-3), "class_weight_decay": (0.8, 0.95), "epochs": (60, 120)},
        ),
        1.0,
    ),
    "desk": Protocol(
        "full sizes at 2 mm, 1,200 training steps each; for a desktop machine and a night",
        Design(
            test=40,
            validation=20,
            varied={"learning_rate": (1e-2, 3e-3)},
            steps=1200,
        ),
        2.0,
    ),
    "smoke": Protocol(
        "everything once, at 6 mm, in a minute or two; the numbers mean nothing",
        Design(
            sizes=(2, 4),
            seeds=2,
            test=2,
            validation=2,
            folds=2,
            varied={"learning_rate": (1e-2, 3e-3)},
            steps=6,
        ),
        6.0,
    ),
}


def find_protocol(name: str) -> Protocol:
    """Raises
    ------
    InputError : there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise InputError(f"There is no protocol '{name}'.", f"Choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def change_design(design: Design, train: Sequence[str] = (), **changes: Any) -> Design:
    """``design`` with what the user said otherwise.

    Parameters
    ----------
    train : see :func:`parse_settings`; what stands there replaces what the design varies. Epochs replace its steps.
    changes : fields of the design; None: as it has it. ``test`` and ``validation`` may be texts, see :func:`amount`.

    Raises
    ------
    InputError : a value makes no sense.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    for name in ("test", "validation"):
        if isinstance(given.get(name), str):
            given[name] = amount(given[name])
    settings = parse_settings(train)
    if "epochs" in settings:
        given.setdefault("steps", 0)
    elif given.get("steps"):
        given["varied"] = {name: values for name, values in design.varied.items() if name != "epochs"}
    varied = {**given.pop("varied", design.varied), **settings}
    return replace(design, **given, varied=varied)


def amount(text: str) -> float | int | tuple[str, ...]:
    """A number of patients, a share below 1, or names of cases, comma-separated; ``007`` is a name."""
    with contextlib.suppress(ValueError):
        number = float(text)
        if number < 1:
            return number
        if text.isdecimal() and not text.startswith("0"):
            return int(text)
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_settings(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Hyper-parameters from texts like ``"learning-rate=0.01/0.003"`` or ``"augmentation=flip,gamma"``.

    Raises
    ------
    InputError : it is no option of a training, or a value is no number where one is needed.
    """
    kinds = get_type_hints(Recipe)
    del kinds["seed"]
    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in kinds or not sign:
            known = ", ".join(kind.replace("_", "-") for kind in kinds)
            raise InputError(f"--train cannot be '{text}'.", f"Give NAME=VALUE or NAME=VALUE/VALUE; names: {known}.")
        try:
            found[name] = tuple(dict.fromkeys(_value(part.strip(), kinds[name]) for part in values.split("/")))
        except ValueError:
            raise InputError(f"--train cannot be '{text}'.", "Give numbers, separated by '/'.") from None
    return found


def _value(text: str, kind: Any) -> Any:
    if kind in (int, float):
        return kind(text)
    if kind is str:
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip() not in ("", "none"))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
