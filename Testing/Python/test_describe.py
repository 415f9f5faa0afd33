"""Describing a model before it is given away: its text, scores from elsewhere; its weights stay as they are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from model_examples import small_model
from typer.testing import CliRunner

from TransferSegLib.cli import app
from TransferSegLib.describe import describe_model
from TransferSegLib.errors import InputError, ModelError
from TransferSegLib.evaluation import Row, read_metrics, write_metrics
from TransferSegLib.model import load_model, save_model


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    save_model(small_model(name="lesions"), tmp_path / "plain")
    return tmp_path / "plain"


def table(path: Path, *dices: float) -> Path:
    return write_metrics([Row(f"case{n}", "lesion", {"dice": dice}) for n, dice in enumerate(dices)], path)


def test_the_text_is_changed_and_the_weights_are_not(plain: Path, tmp_path: Path) -> None:
    about = {"title": "Lesions, better said", "citations": ["Somebody 2020", "Somebody else 2021"]}
    out = describe_model(plain, tmp_path / "told", about)
    before, after = load_model(plain), load_model(out)
    assert after.card.title == "Lesions, better said"
    assert after.card.citations == ("Somebody 2020", "Somebody else 2021")
    assert after.sha256 == before.sha256
    assert after.card.replace(title=before.card.title, citations=before.card.citations) == before.card
    assert "Lesions, better said" in (out / "README.md").read_text(encoding="utf-8")


def test_scores_come_to_the_card_with_what_they_were_measured_on(plain: Path, tmp_path: Path) -> None:
    out = describe_model(plain, tmp_path / "told", scores={"leave-one-out": table(tmp_path / "m.csv", 0.5, 0.7)})
    (score,) = [score for score in load_model(out).card.metrics if score.data == "leave-one-out"]
    assert (score.cases, score.region, score.metric) == (2, "lesion", "dice")
    assert score.mean == pytest.approx(0.6)


def test_scores_of_the_same_name_are_replaced_and_others_kept(plain: Path, tmp_path: Path) -> None:
    first = describe_model(plain, tmp_path / "first", scores={"a": table(tmp_path / "a.csv", 0.1)})
    both = describe_model(first, tmp_path / "both", scores={"b": table(tmp_path / "b.csv", 0.2)})
    again = describe_model(both, tmp_path / "again", scores={"a": table(tmp_path / "c.csv", 0.3)})
    found = {score.data: score.mean for score in load_model(again).card.metrics if score.data in "ab"}
    assert found == {"a": pytest.approx(0.3), "b": pytest.approx(0.2)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[1]", "The text for the card is no JSON object."),
        ('{"weights_sha256": "0"}', "A card has no text 'weights_sha256'."),
        ('{"title": 3}', "'title' of the card is no text."),
        ('{"citations": "one"}', "'citations' of the card is no list."),
    ],
)
def test_what_is_no_description_is_refused(plain: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "about.json").write_text(text)
    with pytest.raises(InputError) as caught:
        describe_model(plain, tmp_path / "told", tmp_path / "about.json")
    assert said in str(caught.value)
    assert not (tmp_path / "told").exists()


def test_an_empty_title_is_refused_as_on_any_card(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        describe_model(plain, tmp_path / "told", {"title": ""})


def test_a_table_that_is_none_is_refused(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("case,dice\nA,good\n")
    with pytest.raises(InputError, match="is no table of metrics"):
        describe_model(plain, tmp_path / "told", scores={"x": tmp_path / "notes.csv"})


def test_metrics_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [Row("a", "whole", {"dice": 0.25, "hd95_mm": math.nan}), Row("b", "core", {"dice": 1.0, "hd95_mm": 3.5})]
    back = read_metrics(write_metrics(rows, tmp_path / "m.csv"))
    assert [(row.case, row.region) for row in back] == [("a", "whole"), ("b", "core")]
    assert back[0].values["dice"] == 0.25
    assert math.isnan(back[0].values["hd95_mm"])
    assert back[1].values == {"dice": 1.0, "hd95_mm": 3.5}


def test_the_command_writes_a_zip(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "about.json").write_text(json.dumps({"description": "Told by a command."}))
    metrics, out = table(tmp_path / "m.csv", 0.4), tmp_path / "told.zip"
    given = ["models", "describe", str(plain), "--about", str(tmp_path / "about.json"), "--scores", str(metrics)]
    done = CliRunner().invoke(app, [*given, "--data", "three sites", "--out", str(out)])
    assert done.exit_code == 0, done.output
    card = load_model(out).card
    assert card.description == "Told by a command."
    assert [score.data for score in card.metrics if score.mean == pytest.approx(0.4)] == ["three sites"]
