"""Runs end to end, on phantoms on disk: what is written, what is told, what is refused."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brains import SPACING_MM, write_case, write_dataset
from test_training import recipe

from TransferSegLib import announcement, engines
from TransferSegLib.card import case_hash
from TransferSegLib.case import load_case
from TransferSegLib.case_files import CHANNELS
from TransferSegLib.datasets import find_cases
from TransferSegLib.errors import Cancelled, InputError, ModelError, ResourceError
from TransferSegLib.events import CancelToken, Event, Message, Metric, Planned, Progress, Result
from TransferSegLib.inference import segment
from TransferSegLib.labels import GLIOMA
from TransferSegLib.memory import BASE_BYTES, training_bytes
from TransferSegLib.metrics import dice
from TransferSegLib.model import load_model
from TransferSegLib.preprocess import Pipeline
from TransferSegLib.preprocess.nyul import Standardise
from TransferSegLib.recipe import Recipe
from TransferSegLib.runs import CHECKPOINT, Run, fine_tune, pretrain
from TransferSegLib.strategies import STRATEGIES, find_strategy
from TransferSegLib.transfer import in_groups
from TransferSegLib.volume import read_volume

RECIPE = recipe(epochs=2, settle=0.5)
FINE_TUNING = [name for name in STRATEGIES if name != "scratch"]
TRAINED = {"scratch": 101_048, "last-three": 1_324, "decoder": 45_576, "all": 101_048, "norm": 188}
HELD_OUT = "Brats18_Site00_1"


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data and a source model. Nothing goes into the user's cache, and no engine is compiled."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSEG_CACHE", str(folder / "cache"))
        patch.setattr(engines, "_has_openvino", lambda: False)
        write_dataset(folder / "tumours", 4)
        write_dataset(folder / "lesions", 4, "lesion")
        pretrain(folder / "lesions", folder / "source", RECIPE, name="ms-lesion", validation=0.25, spacing=SPACING_MM)
        yield folder


def tune(place: Path, out: Path, strategy: str = "last-three", chosen: Recipe = RECIPE, **options: Any) -> Run:
    options = {"source": place / "source", "validation": 0.34, **options}
    return fine_tune(place / "tumours", out, strategy=strategy, recipe=chosen, **options)


@pytest.fixture(scope="module")
def runs(place: Path) -> dict[str, tuple[Run, list[Event]]]:
    """A run with each strategy and what it told."""
    made = {}
    for strategy in STRATEGIES:
        events: list[Event] = []
        made[strategy] = (tune(place, place / strategy, strategy, held_out=[HELD_OUT], on_event=events.append), events)
    return made


def refused(place: Path, out: Path, **options: Any) -> str:
    with pytest.raises((InputError, ModelError)) as caught:
        tune(place, out, **options)
    assert not (out / "model").exists()
    return str(caught.value)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# What is written


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_leaves_its_model_its_history_and_the_held_out_cases(
    place: Path, runs: dict[str, tuple[Run, list[Event]]], strategy: str
) -> None:
    assert files(place / strategy) == {
        CHECKPOINT,
        "history.csv",
        "model/model.json",
        "model/weights.safetensors",
        "model/README.md",
        f"held-out/{HELD_OUT}.nii.gz",
        "held-out/metrics.csv",
        "held-out/metrics_summary.csv",
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_card_tells_where_the_model_comes_from(
    place: Path, runs: dict[str, tuple[Run, list[Event]]], strategy: str
) -> None:
    run, _ = runs[strategy]
    source, card = load_model(place / "source").card, load_model(place / strategy).card
    assert card == run.model.card
    assert card.name == strategy
    training = card.training
    parent = (None, None) if strategy == "scratch" else ("ms-lesion", source.weights_sha256)
    assert (training.parent, training.parent_sha256) == parent
    assert (training.strategy, training.seed) == (strategy, RECIPE.seed)
    for option in ("epochs", "learning_rate", "settle"):
        assert training.hyperparameters[option] == getattr(RECIPE, option)
    assert training.hyperparameters["best_epoch"] in (1, 2)
    assert card.channels == CHANNELS
    assert card.scheme == GLIOMA
    assert card.spacing_mm == (SPACING_MM,) * 3
    assert card.network.classes == 4
    assert {"torch", "numpy"} <= training.libraries.keys()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_card_has_a_hash_of_what_was_frozen_that_did_not_change(
    place: Path, runs: dict[str, tuple[Run, list[Event]]], strategy: str
) -> None:
    training = runs[strategy][0].model.card.training
    assert training.frozen_hash_before == training.frozen_hash_after
    assert (training.frozen_hash_before is None) == (strategy in ("scratch", "all"))


@pytest.mark.parametrize("strategy", FINE_TUNING)
def test_frozen_layers_are_those_of_the_source_to_the_bit_and_the_others_are_not(
    place: Path, runs: dict[str, tuple[Run, list[Event]]], strategy: str
) -> None:
    model, source = runs[strategy][0].model, load_model(place / "source")
    network = model.build()
    trained = set(in_groups(network, find_strategy(strategy).trained))
    for name, parameter in network.named_parameters():
        same = np.array_equal(model.weights[name], source.weights[name])
        assert same == (name.rpartition(".")[0] not in trained), name
        assert parameter.shape == model.weights[name].shape


def test_the_cases_are_counted_and_hashed_but_never_named(
    place: Path, runs: dict[str, tuple[Run, list[Event]]]
) -> None:
    names = [case.name for case in find_cases(place / "tumours").cases]
    salts = set()
    for strategy, (run, _) in runs.items():
        card = run.model.card
        cases = card.training.cases
        salts.add(cases.salt)
        assert (cases.count, cases.groups) == (3, {"HGG": 2, "LGG": 1})
        assert sorted(case_hash(cases.salt, name) for name in names if name != HELD_OUT) == sorted(cases.hashes)
        assert not card.contains_case(HELD_OUT)
        for file in (place / strategy / "model").iterdir():
            content = file.read_bytes().decode("utf-8", "ignore")
            for secret in (*names, "Site0", "tumours", str(place), str(Path.home())):
                assert secret not in content, (file, secret)
    assert len(salts) == len(runs)  # one run's hashes say nothing about another's


def test_scores_on_the_card_say_what_they_were_measured_on(
    place: Path, runs: dict[str, tuple[Run, list[Event]]]
) -> None:
    run, _ = runs["all"]
    assert run.held_out is not None
    card = run.model.card
    found = {(score.data, score.region, score.metric): score for score in card.metrics}
    best = run.history[card.training.hyperparameters["best_epoch"] - 1]  # type: ignore[operator]
    for region in GLIOMA.regions:
        chosen = found["validation (chose the epoch)", region, "dice"]
        assert (chosen.cases, chosen.mean) == (1, pytest.approx(best[f"dice_{region}"], abs=1e-6))
        tested = found["held-out", region, "dice"]
        assert (tested.cases, tested.mean) == (1, pytest.approx(run.held_out.summary(region, "dice").mean, abs=1e-6))
    assert {score.data for score in card.metrics} == {"validation (chose the epoch)", "held-out"}


def test_the_held_out_case_is_scored_on_its_own_grid(place: Path, runs: dict[str, tuple[Run, list[Event]]]) -> None:
    case = next(case for case in find_cases(place / "tumours").cases if case.name == HELD_OUT)
    truth = load_case(case, CHANNELS, GLIOMA)
    written = read_volume(place / "all" / "held-out" / f"{HELD_OUT}.nii.gz")
    assert written.grid.matches(truth.grid)
    predicted = GLIOMA.region_masks(GLIOMA.encode(written.data))
    assert truth.label is not None
    expected = {region: dice(predicted[region], mask) for region, mask in GLIOMA.region_masks(truth.label).items()}
    table = rows(place / "all" / "held-out" / "metrics.csv")
    found = {row["region"]: float(row["dice"]) for row in table}
    assert {region: found[region] for region in expected} == pytest.approx(expected, abs=1e-4)
    assert {row["case"] for row in table} == {HELD_OUT}


def test_the_history_is_a_table_of_epochs(place: Path, runs: dict[str, tuple[Run, list[Event]]]) -> None:
    run, _ = runs["all"]
    table = rows(place / "all" / "history.csv")
    assert [int(row["epoch"]) for row in table] == [1, 2]
    assert [{key: float(value) for key, value in row.items()} for row in table] == list(run.history)


def test_the_model_segments(place: Path, runs: dict[str, tuple[Run, list[Event]]]) -> None:
    case = find_cases(place / "tumours").cases[0]
    result = segment(case, place / "all")
    np.testing.assert_array_equal(
        GLIOMA.decode(result.labels.data), read_volume(place / "all" / "held-out" / f"{HELD_OUT}.nii.gz").data
    )


def test_the_source_was_scored_by_its_pr_auc(place: Path) -> None:
    source = load_model(place / "source").card
    assert {(score.region, score.metric) for score in source.metrics} == {("lesion", "dice"), ("lesion", "pr_auc")}
    assert source.training.parent is None


def test_the_same_seed_gives_the_same_model(place: Path, tmp_path: Path) -> None:
    chosen = recipe(epochs=1, augmentation=("flip", "shift"))
    models = []
    for name in ("a", "b"):
        torch.rand(len(models) + 1)  # what the caller draws does not matter
        models.append(tune(place, tmp_path / name, "all", chosen).model)
    first, second = models
    assert first.sha256 == second.sha256
    assert tune(place, tmp_path / "c", "all", recipe(epochs=1, seed=1)).model.sha256 != first.sha256


@pytest.mark.parametrize(
    ("folder", "name"), [("My Run (2)", "my-run-2"), ("Größe_1.", "gr-e_1"), ("--", "model"), ("x" * 70, "x" * 64)]
)
def test_the_name_of_the_folder_becomes_the_name_of_the_model(
    place: Path, tmp_path: Path, folder: str, name: str
) -> None:
    tune(place, tmp_path / folder, chosen=recipe(epochs=1))
    assert load_model(tmp_path / folder).name == name


def test_the_user_can_name_it_and_say_licence_and_sources(place: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"name": "Ours", "licence": "CC0-1.0", "citations": ["Menze 2015"]}
    card = tune(place, tmp_path / "out", chosen=recipe(epochs=1), **options).model.card
    assert (card.name, card.licence, card.citations[0]) == ("ours", "CC0-1.0", "Menze 2015")
    assert "Kaur" in card.citations[1]


# What is told


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_before_the_first_step_the_user_reads_what_will_happen(
    runs: dict[str, tuple[Run, list[Event]]], strategy: str
) -> None:
    _, events = runs[strategy]
    (message,) = [event for event in events if isinstance(event, Message)]
    first_step = next(n for n, event in enumerate(events) if isinstance(event, Progress) and event.stage == "train")
    assert message.stage == "plan"
    assert events.index(message) < first_step
    text = message.text
    assert text.startswith(f"Strategy '{strategy}': {find_strategy(strategy).explanation}\n")
    assert "Cases: 2 to train, 1 to choose the best epoch, 1 held out." in text
    assert "Channels: t1, t1c, t2, flair. Classes: background, necrotic, edema, enhancing." in text
    assert "Grid: 4 x 4 x 4 mm, up to 16 x 16 x 16 voxels." in text
    assert re.search(
        r"^Device: cpu, float32\. Memory: about \d+\.\d GB\. Time: about \d+ s for 2 epochs\.$", text, re.M
    )
    assert re.search(rf"^all +101,048 +{TRAINED[strategy]:,}$", text, re.M)
    assert ("frozen" in text) == (strategy in ("last-three", "decoder", "norm"))
    assert (re.search(r"^encoder .*frozen$", text, re.M) is not None) == (strategy in ("last-three", "decoder"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_is_told_in_numbers(runs: dict[str, tuple[Run, list[Event]]], strategy: str) -> None:
    _, events = runs[strategy]
    (told,) = [event for event in events if isinstance(event, Planned)]
    (message,) = [event for event in events if isinstance(event, Message)]
    assert events.index(told) == events.index(message) + 1
    assert json.loads(told.to_json()) == {
        "event": "plan",
        "strategy": strategy,
        "cases": {"training": 2, "validation": 1, "held_out": 1},
        "parameters": 101_048,
        "trained": TRAINED[strategy],
        "memory_gb": told.memory_gb,
        "seconds": told.seconds,
        "device": "cpu",
        "precision": "float32",
        "spacing_mm": [SPACING_MM] * 3,
        "epochs": 2,
    }
    bytes_ = training_bytes(16**3, "float32") + BASE_BYTES
    assert told.memory_gb == pytest.approx(bytes_ / 2**30, abs=1e-3)
    assert f"Memory: about {told.memory_gb:.1f} GB. Time: about {max(1, round(told.seconds))} s" in message.text


def test_the_time_that_is_told_is_that_of_all_steps_and_validations(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcement, "trial_step", lambda *_: (100.0, 7.0))
    events: list[Event] = []
    tune(place, tmp_path / "out", chosen=recipe(epochs=2, patches_per_case=3), on_event=events.append)
    (told,) = [event for event in events if isinstance(event, Planned)]
    assert (told.cases["training"], told.cases["validation"]) == (3, 1)
    assert told.seconds == 2 * (3 * 3 * 100 + 7)
    (message,) = [event for event in events if isinstance(event, Message)]
    assert "Time: about 30 min for 2 epochs." in message.text


def test_events_come_in_the_order_of_the_work(runs: dict[str, tuple[Run, list[Event]]], place: Path) -> None:
    _, events = runs["all"]
    stages = list(dict.fromkeys(event.stage for event in events if isinstance(event, Progress | Message | Metric)))
    assert stages == ["prepare", "plan", "train", "test"]
    assert isinstance(events[-1], Result)
    values = json.loads(events[-1].to_json())["values"]
    assert values["model"] == str(place / "all" / "model")
    assert (values["epochs"], values["cancelled"]) == (2, False)
    assert {f"held-out dice {region}" for region in GLIOMA.regions} < values.keys()


def test_a_memory_that_is_too_small_is_told_before_the_first_step(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcement, "available_bytes", lambda: 100 * 2**20)
    with pytest.raises(ResourceError, match=r"Training needs about .* GB of memory, 0\.1 GB are free.*--patch"):
        tune(place, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# What is refused


def test_a_source_that_is_missing_or_unknown_is_refused(place: Path, tmp_path: Path) -> None:
    assert "The strategy 'decoder' needs a source model" in refused(
        place, tmp_path / "out", strategy="decoder", source=None
    )
    assert "no-such-model" in refused(place, tmp_path / "out", source="no-such-model")
    assert str(tmp_path / "gone") in refused(place, tmp_path / "out", source=tmp_path / "gone")


def test_options_that_do_not_fit_the_data_are_refused(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no strategy 'most'" in refused(place, out, strategy="most")
    assert "no label scheme 'stroke'" in refused(place, out, labels="stroke")
    assert "has no channel dwi" in refused(place, out, channels=("t1", "dwi"))
    assert "no case 'Brats18_X'" in refused(place, out, held_out=["Brats18_X"])
    assert "unknown label 2" in refused(place, out, labels="lesion")
    assert not out.exists()


def test_a_folder_with_a_run_in_it_is_refused(place: Path, tmp_path: Path) -> None:
    tune(place, tmp_path / "out", chosen=recipe(epochs=1))
    with pytest.raises(InputError) as caught:
        tune(place, tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 'out'} holds a run already. Choose another --out. If that run was stopped, add --resume to go on."
    )
    shutil.rmtree(tmp_path / "out" / "model")
    assert refused(place, tmp_path / "out") == (
        f"{tmp_path / 'out'} holds a run that was stopped. Add --resume to go on, or choose another --out."
    )


# Stopping and going on


def stop_at(stage: str, step: int) -> dict[str, Any]:
    """Options that stop a run once a stage has got to ``step``; of the training an epoch counts as one."""
    cancel = CancelToken()
    kind = Metric if stage == "train" else Progress

    def listen(event: Event) -> None:
        if isinstance(event, kind) and (event.stage, event.step) == (stage, step):
            cancel.cancel()

    return {"cancel": cancel, "on_event": listen}


def test_a_stop_before_the_first_epoch_leaves_nothing(place: Path, tmp_path: Path) -> None:
    for options in (stop_at("prepare", 1), stop_at("prepare", 4)):
        with pytest.raises(Cancelled):
            tune(place, tmp_path / "out", validation=0.25, **options)
        assert not (tmp_path / "out").exists()


def test_a_stop_later_leaves_the_best_model_until_then_and_can_be_gone_on_with(place: Path, tmp_path: Path) -> None:
    chosen = recipe(epochs=3, settle=0.5, augmentation=("flip",))
    stopped = tune(place, tmp_path / "out", chosen=chosen, held_out=[HELD_OUT], **stop_at("train", 1))
    assert stopped.cancelled
    assert stopped.held_out is None
    assert files(tmp_path / "out") == {
        CHECKPOINT,
        "history.csv",
        "model/model.json",
        "model/weights.safetensors",
        "model/README.md",
    }
    assert len(rows(tmp_path / "out" / "history.csv")) == 1
    resumed = tune(place, tmp_path / "out", chosen=chosen, held_out=[HELD_OUT], resume=True)
    whole = tune(place, tmp_path / "whole", chosen=chosen, held_out=[HELD_OUT])
    assert not resumed.cancelled
    assert resumed.model.sha256 == whole.model.sha256 == load_model(tmp_path / "out").sha256
    assert resumed.held_out is not None
    assert len(rows(tmp_path / "out" / "history.csv")) == 3


def test_a_stop_while_the_held_out_cases_are_scored_leaves_the_model(place: Path, tmp_path: Path) -> None:
    run = tune(place, tmp_path / "out", chosen=recipe(epochs=1), held_out=0.5, validation=0.0, **stop_at("test", 1))
    assert run.cancelled
    assert run.held_out is None
    assert load_model(tmp_path / "out").sha256 == run.model.sha256


def test_a_run_only_goes_on_with_what_it_was_started_with(place: Path, tmp_path: Path) -> None:
    tune(place, tmp_path / "out", "all", **stop_at("train", 1))
    for told, options in (
        ("learning_rate", {"chosen": recipe(epochs=2, settle=0.5, learning_rate=0.5)}),
        ("strategy, trained layers", {"strategy": "decoder"}),
        ("strategy", {"strategy": "scratch"}),
        ("source", {"source": place / "scratch-as-source"}),
        ("channels", {"channels": CHANNELS[::-1]}),
        ("pre-processing", {"spacing": 5}),
        ("training cases, validation cases", {"validation": 0.5}),
    ):
        if "source" in options:
            pretrain(
                place / "lesions", options["source"], recipe(epochs=1, seed=3), spacing=SPACING_MM, validation=0.25
            )
        with pytest.raises(InputError, match=f"The checkpoint belongs to another run: it differs in {told}\\."):
            tune(place, tmp_path / "out", **{"strategy": "all", "resume": True, **options})
    assert len(tune(place, tmp_path / "out", "all", resume=True).history) == 2


def test_a_run_that_was_never_started_cannot_go_on_and_says_so_at_once(place: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    assert "There is no checkpoint" in refused(place, tmp_path / "out", resume=True, on_event=events.append)
    assert events == []


# Other channels and sources


def test_a_model_can_be_tuned_to_fewer_channels(place: Path, tmp_path: Path) -> None:
    for seed in range(3):
        write_case(tmp_path / "data" / "HGG" / f"Brats18_{seed}_1", seed, channels=("t1", "flair"))
    events: list[Event] = []
    run = fine_tune(
        tmp_path / "data",
        tmp_path / "out",
        place / "source",
        "decoder",
        recipe(epochs=1),
        channels=("flair", "t1"),
        on_event=events.append,
    )
    assert run.model.card.channels == ("flair", "t1")
    assert run.model.card.network.in_channels == 2
    (message,) = [event for event in events if isinstance(event, Message)]
    assert "encoder.1.conv1.weight: kept flair, t1; dropped t1c, t2" in message.text
    kernels = load_model(place / "source").weights["encoder.1.conv1.weight"]
    np.testing.assert_array_equal(run.model.weights["encoder.1.conv1.weight"], kernels[:, [3, 0]])


def test_what_was_tuned_can_be_tuned_again(
    place: Path, tmp_path: Path, runs: dict[str, tuple[Run, list[Event]]]
) -> None:
    events: list[Event] = []
    options = {"source": runs["all"][0].model, "held_out": [HELD_OUT], "on_event": events.append}
    card = tune(place, tmp_path / "out", "norm", recipe(epochs=1), **options).model.card
    assert (card.training.parent, card.training.parent_sha256) == ("all", runs["all"][0].model.sha256)
    # Its cases for validation were seen before, the held-out one was not.
    warned = [event.case for event in events if event.name == "warning"]  # type: ignore[attr-defined]
    assert len(warned) == 1
    assert warned[0] not in ("", HELD_OUT)


# What the pre-processing learns


def test_a_scale_of_intensities_is_learned_on_the_training_cases_alone_and_stands_on_the_card(
    place: Path, tmp_path: Path
) -> None:
    run = tune(place, tmp_path / "out", standardise="nyul", held_out=[HELD_OUT], validation=["Brats18_Site01_1"])
    pipeline = Pipeline.from_card(run.model.card.preprocessing)
    assert not pipeline.learns
    training = [case for case in find_cases(place / "tumours") if case.name not in (HELD_OUT, "Brats18_Site01_1")]
    assert len(training) == 2
    plain = pipeline.without_intensity()
    sampled = [plain.sample(plain.place(load_case(case, scheme=GLIOMA)), CHANNELS) for case in training]
    expected = replace(pipeline, intensity=(Standardise(), *pipeline.intensity[1:])).learned(sampled, CHANNELS)
    assert pipeline == expected
    again = fine_tune(place / "tumours", tmp_path / "next", run.model, "last-three", RECIPE)
    assert Pipeline.from_card(again.model.card.preprocessing) == pipeline  # kept, not learned anew
