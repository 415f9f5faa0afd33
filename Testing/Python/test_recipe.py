"""Recipe: defaults that fit together, help for each option, and words for every value that makes no sense."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any

import pytest

from TransferSegLib.errors import InputError
from TransferSegLib.recipe import AUGMENTATIONS, Recipe

WRONG = [
    ("epochs", 0),
    ("epochs", -5),
    ("learning_rate", 0.0),
    ("learning_rate", 1.5),
    ("learning_rate", float("nan")),
    ("warmup", -0.1),
    ("warmup", 1.0),
    ("weight_decay", -0.1),
    ("weight_decay", 1.0),
    ("batch_size", 0),
    ("patch", 8),
    ("patch", 20),
    ("patch", -16),
    ("patches_per_case", 0),
    ("class_weight_decay", -0.1),
    ("class_weight_decay", 1.1),
    ("class_weight_form", "linear"),
    ("dice_weight", -1.0),
    ("dice_weight", float("nan")),
    ("settle", -0.1),
    ("settle", 1.1),
    ("patience", -1),
    ("precision", "float16"),
    ("seed", -1),
    ("seed", 2**63),
]

RIGHT = [
    ("epochs", 1),
    ("learning_rate", 1.0),
    ("warmup", 0.0),
    ("patch", 0),
    ("patch", 16),
    ("patch", 96),
    ("class_weight_decay", 0.0),
    ("class_weight_decay", 1.0),
    ("class_weight_form", "to-one"),
    ("class_weight_form", "plus-one"),
    ("dice_weight", 0.0),
    ("settle", 0.0),
    ("settle", 1.0),
    ("precision", "auto"),
    ("precision", "float32"),
    ("precision", "bfloat16"),
    ("augmentation", ()),
    ("augmentation", tuple(AUGMENTATIONS)),
    ("seed", 2**63 - 1),
]


def test_the_defaults_are_a_recipe() -> None:
    assert Recipe() == Recipe()
    with pytest.raises(FrozenInstanceError):
        Recipe().epochs = 3  # type: ignore[misc]


def test_every_option_explains_itself() -> None:
    for field in fields(Recipe):
        assert len(field.metadata["help"]) > 15, field.name
        assert field.metadata["help"].endswith("."), field.name
    about = next(field.metadata["help"] for field in fields(Recipe) if field.name == "augmentation")
    assert all(name in about for name in AUGMENTATIONS)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_that_makes_no_sense_is_refused_with_the_help_of_its_option(name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        Recipe(**{name: value})
    assert caught.value.cause == f"--{name.replace('_', '-')} cannot be {value}."
    assert caught.value.remedy == Recipe.__dataclass_fields__[name].metadata["help"]


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_a_value_at_the_edge_of_sense_is_taken(name: str, value: Any) -> None:
    assert asdict(Recipe(**{name: value}))[name] == value


def test_every_number_and_word_is_checked() -> None:
    checked = {name for name, _ in WRONG} | {"augmentation", "device"}
    assert checked == {field.name for field in fields(Recipe)}


def test_an_unknown_augmentation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        Recipe(augmentation=("flip", "elastic"))
    assert caught.value.cause == "There is no augmentation 'elastic'."
    assert all(name in caught.value.remedy for name in AUGMENTATIONS)
