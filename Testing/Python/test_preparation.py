"""Preparation: choices that fit together, and words for every value that makes no sense."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from TransferSegLib.errors import InputError
from TransferSegLib.preparation import BRAIN_METHODS, Preparation
from TransferSegLib.preprocess import NORMALISATIONS
from TransferSegLib.preprocess.align import Align
from TransferSegLib.preprocess.brain import FindBrain

CHOICES = {item.name: item.metadata["choices"] for item in fields(Preparation) if item.metadata["choices"]}


def test_nothing_is_chosen_unless_the_user_does() -> None:
    assert Preparation().chosen() == {}
    assert Preparation(spacing=2, brain="bet").chosen() == {"spacing": 2, "brain": "bet"}


def test_single_choices_go_before_a_preset() -> None:
    whole = Preparation(preset="paper").chosen()
    assert Preparation(preset="paper", bias="none", brain="bet").chosen() == {**whole, "bias": "none", "brain": "bet"}


@pytest.mark.parametrize("name", CHOICES)
def test_what_cannot_be_chosen_is_told_with_what_can(name: str) -> None:
    with pytest.raises(InputError) as caught:
        Preparation(**{name: "magic"})
    assert str(caught.value) == f"--{name} cannot be 'magic'. Choose one of {', '.join(CHOICES[name])}."
    for value in CHOICES[name]:
        Preparation(**{name: value})


@pytest.mark.parametrize("item", fields(Preparation), ids=lambda item: item.name)
def test_each_choice_has_a_help_that_names_what_there_is_to_choose(item: Any) -> None:
    assert all(f"{name}: {about}" in item.metadata["help"] for name, about in (item.metadata["choices"] or {}).items())
    assert item.metadata["help"].strip().endswith(".")


def test_the_choices_are_those_that_the_steps_know() -> None:
    assert list(CHOICES["normalise"]) == list(NORMALISATIONS)
    assert CHOICES["brain"] is BRAIN_METHODS
    assert [FindBrain(method).method for method in BRAIN_METHODS] == list(BRAIN_METHODS)
    assert [Align(method).method for method in CHOICES["align"]] == list(CHOICES["align"])
