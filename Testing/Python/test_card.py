"""The card of a model: what it accepts, what it refuses and with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_examples import CASES, card_fields, score

import TransferSegLib.card as card_module
from TransferSegLib.card import Card, card_schema, case_hash, hashed_cases
from TransferSegLib.errors import ModelError
from TransferSegLib.labels import GLIOMA, LESION


def full(**changes: Any) -> dict[str, Any]:
    return card_fields(weights_sha256="b" * 64, **changes)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The plain card with one value changed; ``...`` takes it away."""
    data = Card.from_dict(full()).to_dict()
    *parents, last = path.split(".")
    place: Any = data
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return data


def refusal(data: Any) -> str:
    with pytest.raises(ModelError) as caught:
        Card.from_json(data if isinstance(data, str | bytes) else json.dumps(data))
    assert caught.value.remedy
    return caught.value.cause


def test_a_card_survives_its_file() -> None:
    card = Card.from_dict(full())
    assert Card.from_json(card.to_json()) == card
    assert Card.from_json(card.to_json().encode()) == card
    assert json.loads(card.to_json()) == card.to_dict()
    assert card.to_dict()["format"] == 1


def test_a_file_saved_by_an_editor_with_a_byte_order_mark_is_read() -> None:
    card = Card.from_dict(full())
    assert Card.from_json(b"\xef\xbb\xbf" + card.to_json().encode()) == card


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(texts), texts, st.dictionaries(texts, st.lists(texts | st.integers(-9, 9) | st.none(), max_size=4)))
def test_the_pretty_file_keeps_every_character(citations: list[str], title: str, extras: dict[str, Any]) -> None:
    extras.pop("step", None)
    card = Card.from_dict(full(citations=citations, title=title, preprocessing=[{"step": "any", **extras}]))
    assert Card.from_json(card.to_json()) == card


def test_short_lists_stand_on_one_line() -> None:
    assert '"channels": ["t1", "t1c", "t2", "flair"]' in Card.from_dict(full()).to_json()


def test_the_label_scheme_comes_back_as_it_was() -> None:
    assert Card.from_dict(full(labels=GLIOMA)).scheme == GLIOMA
    assert Card.from_dict(full()).scheme == GLIOMA


def test_numpy_values_are_taken() -> None:
    step = {"step": "nyul", "landmarks": np.array([0.0, 0.5, 1.0]), "count": np.int64(3)}
    card = Card.from_dict(full(preprocessing=[step], spacing_mm=np.ones(3)))
    assert card.preprocessing[0] == {"step": "nyul", "landmarks": [0.0, 0.5, 1.0], "count": 3}
    assert card.spacing_mm == (1.0, 1.0, 1.0)


def test_spacing_and_shape_may_be_left_to_the_image() -> None:
    card = Card.from_dict(full(spacing_mm=None, shape=None))
    assert card.spacing_mm is None
    assert card.shape is None


def test_a_card_cannot_be_changed_but_replaced() -> None:
    card = Card.from_dict(full())
    with pytest.raises(ValueError, match="frozen"):
        card.name = "other"  # type: ignore[misc]
    assert card.replace(name="other").name == "other"
    assert card.name == "glioma-ft-all"
    with pytest.raises(ModelError, match="lower-case letters") as caught:
        card.replace(name="My Model")
    assert caught.value.remedy == "Correct the value."


@pytest.mark.parametrize("field", list(full(format=1)))
def test_every_field_is_needed(field: str) -> None:
    assert refusal(changed(field, ...)) == f"The model card has no '{field}'."


@pytest.mark.parametrize(
    ("path", "value", "cause"),
    [
        ("training.seed", ..., " has no 'training.seed'."),
        ("colour", "red", " has the unknown field 'colour'."),
        ("training.cases.names", ["Ann"], " has the unknown field 'training.cases.names'."),
        ("labels.classes.1.codes", ["1"], "'s 'labels.classes.1.codes.0' is wrong: input should be a valid integer."),
        ("title", "", "'s 'title' is wrong: string should have at least 1 character."),
        ("title", 3, "'s 'title' is wrong: input should be a valid string."),
        ("spacing_mm", [1, 1, 0], "'s 'spacing_mm.2' is wrong: input should be greater than 0."),
        ("channels", ["t1", "t1", "t2", "flair"], "'s 'channels' is wrong: the channel 't1' is given twice."),
        ("channels", ["t1", "../a", "t2", "flair"], "'s 'channels' is wrong: '../a' cannot be the name of a channel."),
        ("preprocessing.0.step", ..., "'s 'preprocessing.0' is wrong: it has no 'step', the name of what is done."),
        ("training.date", "yesterday", "'s 'training.date' is wrong: invalid isoformat string: 'yesterday'."),
        ("weights_sha256", "abc", "'s 'weights_sha256' is wrong: a SHA-256 has 64 hexadecimal digits."),
        (
            "network.base_filters",
            100000,
            "'s 'network.base_filters' is wrong: input should be less than or equal to 64.",
        ),
        ("training.cases.count", 4, "'s 'training.cases' is wrong: there are 4 cases but 3 hashes."),
        ("training.cases.groups", {"HGG": 9}, "'s 'training.cases' is wrong: the groups hold 9 cases, not 3."),
        (
            "labels.regions",
            {"whole": ["cyst"]},
            "'s 'labels' is wrong: region 'whole' of label scheme 'glioma' has unknown or no classes: ['cyst'].",
        ),
        ("shape", [240, 190, 192], " contradicts itself: the sides of the shape (240, 190, 192) do not divide by 8."),
        ("channels", ["t1", "t2"], " contradicts itself: the network takes 4 channels, the card names 2."),
        ("labels", LESION.to_dict(), " contradicts itself: the network has 4 classes, the labels 2."),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, cause: str) -> None:
    assert refusal(changed(path, value)) == f"The model card{cause}"


def test_several_faults_are_counted() -> None:
    data = changed("title", ...)
    data["version"] = 1
    assert refusal(data).startswith("The model card's 'version' is wrong: input should be a valid string (1 more of")


@pytest.mark.parametrize("name", ["Glioma", "a b", "../a", "a/b", "-a", "a.", ".a", "", "a" * 65, "é", "a\n"])
def test_a_name_must_be_able_to_name_a_folder(name: str) -> None:
    assert "lower-case letters" in refusal(changed("name", name))


@pytest.mark.parametrize("name", ["a", "glioma-ft-all", "ms_lesion.v2", "0", "a" * 64])
def test_slugs_are_good_names(name: str) -> None:
    assert Card.from_json(json.dumps(changed("name", name))).name == name


def test_a_newer_format_is_refused_before_anything_else() -> None:
    with pytest.raises(ModelError) as caught:
        Card.from_json('{"format": 2, "all": "is new"}')
    assert caught.value.cause == "The model was made by a newer TransferSeg (format 2, this one reads up to 1)."
    assert caught.value.remedy == "Update TransferSeg."


@pytest.mark.parametrize("value", [0, -1, "1", True, None, 1.0])
def test_a_format_that_never_was_is_refused(value: Any) -> None:
    assert refusal(changed("format", value)) == "The model card's 'format' is wrong: it should be 1."


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('{"format": 1,\n  name: 3}', "The model card is not valid JSON (line 2, column 3)."),
        ("", "The model card is not valid JSON (line 1, column 1)."),
        (b"\x80\x81", "The model card is not valid JSON."),
        ("[" * 100_000, "The model card is not valid JSON."),
        ('{"format": ' + "1" * 5000 + "}", "The model card is not valid JSON."),
        ('{"format": 1, "name": "\\ud800"}', "The model card is not valid JSON."),
        ("[1]", "The model card is not a JSON object."),
        ("{}", "The model card has no 'format'."),
    ],
)
def test_what_is_no_card_is_refused(text: str | bytes, cause: str) -> None:
    assert refusal(text) == cause


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_are_finite_wherever_they_stand(number: str) -> None:
    text = Card.from_dict(full()).to_json()
    for place in ("0.8512", "0.0001", "50.25"):
        assert refusal(text.replace(place, number)) == f"The model card holds the number {number}."


def test_what_json_cannot_hold_is_refused_when_a_card_is_made() -> None:
    with pytest.raises(ModelError, match="cannot hold a value"):
        Card.from_dict(full(metrics=[score("whole", mean=float("nan"), sd=0, median=0, ci_low=0, ci_high=0)]))
    with pytest.raises(ModelError, match="PosixPath is no JSON type"):
        Card.from_dict(full(title=Path("a")))


def test_a_case_can_be_recognised_but_not_read() -> None:
    card = Card.from_dict(full())
    assert all(card.contains_case(name) for name in CASES)
    assert not card.contains_case("patient 4")
    assert not any(name in card.to_json() for name in CASES)


def test_the_same_case_has_another_hash_in_another_model() -> None:
    assert case_hash("salt 1", "patient 1") != case_hash("salt 2", "patient 1")


def test_a_case_is_recognised_however_the_system_spells_its_accents() -> None:
    assert case_hash("s", "Andr\u00e9") == case_hash("s", "Andre\u0301")


def test_a_case_whose_name_is_no_unicode_can_be_hashed() -> None:
    assert case_hash("s", "case\udcff") != case_hash("s", "case")


def test_hashes_do_not_tell_the_order_of_the_cases() -> None:
    assert hashed_cases(CASES, "s") == hashed_cases(CASES[::-1], "s")


def test_the_committed_schema_is_that_of_the_code() -> None:
    committed = Path(card_module.__file__).with_name("model.schema.json")
    assert json.loads(committed.read_text("utf-8")) == card_schema(), (
        "After a wanted change: python -c 'import json; from TransferSegLib.card import card_schema; "
        "print(json.dumps(card_schema(), indent=2))' > TransferSegLib/model.schema.json"
    )


def test_the_schema_asks_for_all_fields_and_no_others() -> None:
    schema = card_schema()
    assert sorted(schema["required"]) == sorted(full(format=1))
    assert schema["additionalProperties"] is False
    assert schema["properties"]["preprocessing"]["items"]["required"] == ["step"]
