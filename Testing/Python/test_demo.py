"""The demo: simulated patients, the shipped model, each strategy, the table and the picture; all in one new folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from TransferSegLib import demo
from TransferSegLib.demo import run_demo
from TransferSegLib.errors import Cancelled, DependencyError, InputError
from TransferSegLib.events import CancelToken, Event, Message, Progress, Result, Warning
from TransferSegLib.model import load_model
from TransferSegLib.volume import read_volume

torch.set_num_threads(1)

STRATEGIES = ["scratch", "last-three", "decoder", "all"]
HELD_OUT = ["glioma-sim-7-0003", "glioma-sim-7-0004"]


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """Few patients, few epochs, large voxels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_RECIPE", replace(demo._RECIPE, epochs=2, class_weight_decay=0.0))
        patch.setattr(demo, "_PATIENTS", 5)
        patch.setattr(demo, "_VALIDATION", ("glioma-sim-7-0002",))
        patch.setattr(demo, "_HELD_OUT", tuple(HELD_OUT))
        patch.setattr(demo, "_SPACING_MM", 6.0)
        yield


Done = tuple[Path, list[list[str]], list[Event]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The folder, the table and the events of one demo."""
    out, events = tmp_path_factory.mktemp("demo") / "out", []
    return out, run_demo(out, events.append), events


def test_the_table_has_a_row_for_each_strategy_and_the_dice_of_each_region(done: Done) -> None:
    _, table, _ = done
    assert table[0] == ["strategy", "Dice whole", "Dice core", "Dice enhancing"]
    assert [row[0] for row in table[1:]] == STRATEGIES
    assert all(0 <= float(cell) <= 1 for row in table[1:] for cell in row[1:])


def test_each_number_is_the_mean_over_the_held_out_patients(done: Done) -> None:
    out, table, _ = done
    for strategy, *cells in table[1:]:
        card = load_model(out / strategy).card
        means = {score.region: score.mean for score in card.metrics if score.metric == "dice" and score.cases == 2}
        assert cells == [f"{means[region]:.3f}" for region in ("whole", "core", "enhancing")]


def test_the_folder_holds_data_models_results_and_the_picture(done: Done) -> None:
    out, _, _ = done
    assert sorted(item.name for item in out.iterdir()) == sorted(["cache", "data", "demo.png", *STRATEGIES])
    assert len(list((out / "data").glob("*GG/*"))) == 5
    assert (out / "demo.png").read_bytes().startswith(b"\x89PNG")
    for strategy in STRATEGIES:
        for case in HELD_OUT:
            assert read_volume(out / strategy / "held-out" / f"{case}.nii.gz").grid.spacing == (6, 6, 6)


def test_every_strategy_but_the_baseline_starts_from_the_shipped_lesion_model(done: Done) -> None:
    out, _, _ = done
    source = load_model("ms-lesion-fast")
    assert source.scheme.name == "lesion"
    for strategy in STRATEGIES:
        training = load_model(out / strategy).card.training
        assert training.strategy == strategy
        assert training.parent_sha256 == (None if strategy == "scratch" else source.sha256)


def test_it_says_that_the_numbers_say_nothing_about_real_patients(done: Done) -> None:
    _, _, events = done
    assert isinstance(events[0], Message)
    assert "say nothing about real patients" in events[0].text


def test_each_training_has_a_bar_of_its_own_that_comes_to_its_end(done: Done) -> None:
    _, _, events = done
    bars: dict[str, Progress] = {event.stage: event for event in events if isinstance(event, Progress)}
    assert list(bars) == ["simulate", *STRATEGIES]
    assert all(event.step == event.of for event in bars.values())


def test_the_picture_is_the_result(done: Done) -> None:
    out, _, events = done
    assert events[-1] == Result({"figure": out / "demo.png"})


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_is_there_already_is_not_touched(tmp_path: Path, what: str) -> None:
    out = tmp_path / "demo"
    if what == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError) as caught:
        run_demo(out)
    assert str(caught.value) == f"{out} is not an empty folder. Choose another --out, or delete it."
    assert [item.name for item in tmp_path.rglob("*") if item.is_file()] == [{"file": "demo"}.get(what, "notes.txt")]


def test_without_matplotlib_there_is_a_warning_and_all_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise DependencyError("matplotlib is not installed.", "Install it.")

    monkeypatch.setattr(demo, "new_figure", missing)
    monkeypatch.setattr(demo, "_STRATEGIES", ("last-three",))
    events: list[Event] = []
    table = run_demo(tmp_path / "out", events.append)
    assert len(table) == 2
    assert events[-1] == Warning("No figure: matplotlib is not installed. Install it.")
    assert not (tmp_path / "out" / "demo.png").exists()


@pytest.mark.parametrize(("stage", "folder"), [("simulate", None), ("last-three", "last-three")])
def test_when_cancelled_it_stops_and_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, folder: str | None
) -> None:
    monkeypatch.setattr(demo, "_STRATEGIES", ("last-three",))
    cancel = CancelToken()

    def stop(event: Event) -> None:
        # In its last epoch there is a model to keep: the run itself does not fail.
        if isinstance(event, Progress) and event.stage == stage and event.step == event.of - 1:
            cancel.cancel()

    with pytest.raises(Cancelled):
        run_demo(tmp_path / "out", stop, cancel)
    if folder is not None:
        assert load_model(tmp_path / "out" / folder).card.training.hyperparameters["best_epoch"] == 1
    assert not (tmp_path / "out" / "demo.png").exists()
