"""What a study compares: refusals, settings, and the budget that is the same for everybody."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from TransferSegLib.errors import InputError
from TransferSegLib.recipe import Recipe
from TransferSegLib.study.design import PROTOCOLS, Design, find_protocol, parse_settings

DESIGN = Design(sizes=(4, 8), varied={"learning_rate": (0.01, 0.003), "epochs": (5, 9)})


def test_every_combination_of_the_varied_values_is_a_setting() -> None:
    assert list(DESIGN.settings) == [
        {"learning_rate": 0.01, "epochs": 5},
        {"learning_rate": 0.01, "epochs": 9},
        {"learning_rate": 0.003, "epochs": 5},
        {"learning_rate": 0.003, "epochs": 9},
    ]


def test_with_one_value_each_there_is_nothing_to_choose() -> None:
    assert not Design().chooses
    assert not Design(varied={"epochs": (7,)}).chooses
    assert Design(varied={"epochs": (7,)}).recipe_for({"epochs": 7}, 20, 3) == Recipe(epochs=7, seed=3)


def test_steps_are_the_same_for_every_size() -> None:
    design = Design(sizes=(20, 150), steps=600)
    small, large = (design.recipe_for({}, n, 0) for n in (20, 150))
    assert (small.epochs * 20, large.epochs * 150) == (600, 600)


def test_a_step_is_a_batch() -> None:
    recipe = Design(steps=1200, recipe=Recipe(batch_size=4)).recipe_for({}, 20, 0)
    assert recipe.epochs * recipe.steps_per_epoch(20) == 1200
    assert Recipe(batch_size=8).steps_per_epoch(3) == 1


def test_what_all_trainings_have_in_common_is_told() -> None:
    design = Design(varied={"epochs": (60,), "learning_rate": (0.01, 0.003)}, recipe=Recipe(patience=5))
    common = design.fixed_recipe
    assert (common.epochs, common.learning_rate, common.patience) == (60, 0.01, 5)


def test_protocols_are_designs_of_the_papers_sizes() -> None:
    assert PROTOCOLS["paper"].design.sizes == PROTOCOLS["desk"].design.sizes == (20, 50, 100, 150)
    assert (PROTOCOLS["paper"].spacing, PROTOCOLS["desk"].spacing) == (1, 2)
    for protocol in PROTOCOLS.values():
        assert protocol.design.strategies == ("scratch", "last-three", "decoder", "all")
        assert protocol.design.chooses


def test_a_design_is_json_data() -> None:
    design = replace(DESIGN, test=("a", "b"), recipe=Recipe(augmentation=("flip", "gamma")))
    data = json.loads(json.dumps(design.to_dict()))
    assert data["sizes"] == [4, 8]
    assert data["test"] == ["a", "b"]
    assert data["varied"] == {"learning_rate": [0.01, 0.003], "epochs": [5, 9]}
    assert data["recipe"]["augmentation"] == ["flip", "gamma"]
    assert set(data) == set(Design.__dataclass_fields__)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"sizes": (8, 4)}, "--sizes cannot be '8,4'. Give numbers of patients, ascending: --sizes 20,50,100."),
        ({"sizes": ()}, "--sizes cannot be ''."),
        ({"sizes": (0, 4)}, "--sizes cannot be '0,4'."),
        ({"strategies": ("all", "all")}, "--strategies cannot be 'all,all'. Name each strategy once."),
        ({"strategies": ("everything",)}, "There is no strategy 'everything'."),
        ({"seeds": 0}, "--seeds cannot be '0'."),
        ({"folds": 1}, "--folds cannot be '1'."),
        ({"recipe": Recipe(seed=7)}, "--seed cannot be 7: repetitions are numbered from 0. Give --seeds"),
        ({"steps": -1}, "--steps cannot be '-1'."),
        ({"validation": -1}, "--validation cannot be '-1'."),
        ({"test_folds": 0}, "--test-folds cannot be '0'."),
        ({"steps": 5, "varied": {"epochs": (3, 4)}}, "The epochs follow from --steps. Leave one of them out."),
        (
            {"sizes": (3, 9), "varied": {"learning_rate": (0.1, 0.2)}},
            "3 patients cannot be dealt into 4 folds to choose hyper-parameters.",
        ),
        ({"varied": {"learning_rate": (0.1, 2.0)}}, "--learning-rate cannot be 2.0."),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(InputError) as caught:
        Design(**values)  # type: ignore[arg-type]
    assert str(caught.value).startswith(told)


def test_settings_are_read_from_text() -> None:
    found = parse_settings(["learning-rate=0.01/0.003", "epochs=60", "augmentation=flip,gamma/none", "device=cuda"])
    assert found == {
        "learning_rate": (0.01, 0.003),
        "epochs": (60,),
        "augmentation": (("flip", "gamma"), ()),
        "device": ("cuda",),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pace=3", "--train cannot be 'pace=3'. Give NAME=VALUE or NAME=VALUE/VALUE; names: epochs, learning-rate,"),
        ("epochs", "--train cannot be 'epochs'. Give NAME=VALUE"),
        ("seed=3", "--train cannot be 'seed=3'."),
        ("epochs=many", "--train cannot be 'epochs=many'. Give numbers, separated by '/'."),
    ],
)
def test_other_texts_are_refused(text: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_settings([text])
    assert str(caught.value).startswith(told)


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(InputError, match="There is no protocol 'big'"):
        find_protocol("big")
