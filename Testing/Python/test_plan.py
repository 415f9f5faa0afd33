"""What is decided before a run computes anything, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import brains
import pytest
import torch
from model_examples import card_fields

from TransferSegLib.card import hashed_cases
from TransferSegLib.case_files import CHANNELS
from TransferSegLib.datasets import find_cases
from TransferSegLib.errors import InputError
from TransferSegLib.events import Event, Warning
from TransferSegLib.labels import GLIOMA, LESION
from TransferSegLib.model import Model, new_model
from TransferSegLib.network import UNet
from TransferSegLib.plan import Plan, make_plan
from TransferSegLib.preparation import Preparation
from TransferSegLib.preprocess import NORMALISATIONS, Pipeline
from TransferSegLib.preprocess.align import Align
from TransferSegLib.preprocess.brain import FindBrain
from TransferSegLib.preprocess.nyul import Standardise
from TransferSegLib.preprocess.respace import Respace
from TransferSegLib.preprocess.zscore import ZScore
from TransferSegLib.recipe import Recipe


def make_source(seen: Sequence[str] = (), **network: Any) -> Model:
    parameters = {"in_channels": 4, "classes": 2, "base_filters": 4, "steps": 4, **network}
    with torch.random.fork_rng():
        weights = UNet(**parameters).state_dict()
    fields = card_fields(
        name="ms-lesion",
        labels=LESION,
        network=parameters,
        preprocessing=Pipeline().to_card(),
        spacing_mm=Pipeline().spacing_mm,
        shape=None,
    )
    fields["training"] = {**fields["training"], "cases": hashed_cases(seen, "salt")}
    return new_model(fields, weights)


def plan_of(dataset: Any, parent: Model | None = None, strategy: str = "scratch", **changes: Any) -> Plan:
    options = {
        "recipe": Recipe(),
        "labels": None,
        "channels": None,
        "statistics": None,
        "validation": 0.0,
        "held_out": 0.0,
        "on_event": lambda _: None,
    }
    prepare = {item.name: changes.pop(item.name) for item in fields(Preparation) if item.name in changes}
    return make_plan(dataset, parent, strategy, preparation=Preparation(**prepare), **{**options, **changes})


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


@pytest.fixture(scope="module")
def tumours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return brains.write_dataset(tmp_path_factory.mktemp("tumours"), 4)


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return brains.write_dataset(tmp_path_factory.mktemp("lesions"), 3, "lesion")


# Labels


def test_the_layout_tells_what_labels_mean(tumours: Path) -> None:
    assert plan_of(tumours).scheme == GLIOMA
    assert plan_of(str(tumours)).scheme == GLIOMA
    assert plan_of(find_cases(tumours)).scheme == GLIOMA


def test_labels_of_0_and_1_are_lesions(lesions: Path) -> None:
    assert plan_of(lesions).scheme == LESION
    assert plan_of(list(find_cases(lesions).cases)).scheme == LESION


def test_the_user_can_say_what_labels_mean(tumours: Path) -> None:
    cases = list(find_cases(tumours).cases)
    other = replace(GLIOMA, name="other")
    assert plan_of(cases, labels="glioma").scheme == GLIOMA
    assert plan_of(cases, labels=other).scheme == other


def test_labels_that_nothing_tells_the_meaning_of_are_refused(tumours: Path) -> None:
    message = refused(lambda: plan_of(list(find_cases(tumours).cases)))
    assert message.startswith("What the labels 0, 1, 2, 4 mean is not known.")
    assert "--labels glioma" in message


def test_an_unknown_scheme_is_refused(tumours: Path) -> None:
    assert "There is no label scheme 'stroke'. Use glioma, lesion" in refused(lambda: plan_of(tumours, labels="stroke"))


# Cases


def test_cases_without_a_label_map_are_left_out_with_a_warning(tmp_path: Path) -> None:
    brains.write_dataset(tmp_path, 2)
    brains.write_case(tmp_path / "HGG" / "Brats18_New_1", label=False)
    events: list[Event] = []
    plan = plan_of(tmp_path, on_event=events.append)
    assert [case.name for case in plan.roles.training] == ["Brats18_Site00_1", "Brats18_Site01_1"]
    assert events == [Warning("1 cases without a label map are left out: Brats18_New_1.")]


def test_without_any_label_map_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    brains.write_case(tmp_path / "Brats18_New_1", label=False)
    assert "No case has a reference label map." in refused(lambda: plan_of(tmp_path))


def test_roles_follow_from_the_seed(tumours: Path) -> None:
    def names(seed: int) -> tuple[str, ...]:
        return tuple(case.name for case in plan_of(tumours, recipe=Recipe(seed=seed), validation=0.5).roles.validation)

    assert names(3) == names(3)
    assert len({names(seed) for seed in range(10)}) > 1


def test_a_case_to_hold_out_must_be_there(tumours: Path) -> None:
    assert "There is no case 'Brats18_X'" in refused(lambda: plan_of(tumours, held_out=["Brats18_X"]))


# Source and channels


def test_only_training_from_scratch_can_do_without_a_source(tumours: Path) -> None:
    plan_of(tumours)
    assert refused(lambda: plan_of(tumours, strategy="all")) == (
        "The strategy 'all' needs a source model. Give one with --source."
    )


def test_an_unknown_strategy_is_refused_before_anything_else(tmp_path: Path) -> None:
    assert "There is no strategy 'most'." in refused(lambda: plan_of(tmp_path / "nowhere", strategy="most"))


def test_a_plan_takes_channels_network_and_preprocessing_from_its_source(tumours: Path) -> None:
    source = make_source(base_filters=2, steps=3, statistics="running")
    plan = plan_of(tumours, source, "all")
    assert plan.channels == CHANNELS
    assert plan.pipeline == Pipeline()
    assert plan.network_parameters == {
        "in_channels": 4,
        "classes": 4,
        "base_filters": 2,
        "steps": 3,
        "statistics": "running",
    }
    assert plan_of(tumours, source, "all", statistics="image").statistics == "image"


def test_without_a_source_the_network_is_that_of_the_paper(lesions: Path) -> None:
    parameters = plan_of(lesions).network_parameters
    assert [parameters[key] for key in ("in_channels", "classes", "base_filters", "steps")] == [4, 2, 4, 4]


def test_channels_can_be_chosen(tumours: Path) -> None:
    plan = plan_of(tumours, make_source(), "all", channels=("flair", "t1"))
    assert plan.channels == ("flair", "t1")
    assert plan.network_parameters["in_channels"] == 2


def test_channels_beyond_the_four_are_looked_for_in_a_folder(tmp_path: Path) -> None:
    for seed in range(2):
        folder = brains.write_case(tmp_path / f"patient-{seed}", seed, "lesion")
        (folder / f"patient-{seed}_t2.nii.gz").rename(folder / f"patient-{seed}_swi.nii.gz")
    (first, _) = plan_of(tmp_path, channels=("t1", "swi")).roles.training
    assert set(first.channels) == {"t1", "swi"}
    source = make_source()
    source = replace(source, card=source.card.model_copy(update={"channels": ("swi", "flair")}))
    assert plan_of(tmp_path, source, "all").channels == ("swi", "flair")


@pytest.mark.parametrize(
    ("channels", "told"),
    [
        (("t1", "t1", "t2"), "The channel 't1' is given twice. Give each once."),
        (("t1", ""), "'' cannot be the name of a channel. Use letters, digits, '-' and '_'."),
        *(
            ((name,), f"{name!r} cannot be the name of a channel. Use letters, digits, '-' and '_'.")
            for name in ("../t1", "a/b", "a\\b", "c:t1", "t1\0", "t1\n", "t1..")
        ),
    ],
)
def test_channels_that_no_card_can_hold_are_refused_before_anything_is_read(
    tmp_path: Path, channels: tuple[str, ...], told: str
) -> None:
    assert refused(lambda: plan_of(tmp_path / "nowhere", channels=channels)) == told


def test_a_case_without_a_channel_is_named_with_what_it_has(tmp_path: Path) -> None:
    brains.write_dataset(tmp_path, 2)
    brains.write_case(tmp_path / "HGG" / "Brats18_Poor_1", channels=("t1", "flair"))
    message = refused(lambda: plan_of(tmp_path, make_source(), "all"))
    assert message.startswith("Case 'Brats18_Poor_1' has no channel t1c, t2; it has flair, t1.")
    assert plan_of(tmp_path, channels=("t1", "flair")).channels == ("t1", "flair")


# Pre-processing


def test_another_spacing_than_the_sources_is_warned_about(tumours: Path) -> None:
    events: list[Event] = []
    plan = plan_of(tumours, make_source(), "all", spacing=4, on_event=events.append)
    assert plan.pipeline.spacing_mm == (4.0, 4.0, 4.0)
    assert events == [Warning("The source was trained at (1.0, 1.0, 1.0) mm, this run works at 4 mm.")]
    events.clear()
    plan_of(tumours, make_source(), "all", spacing=1, on_event=events.append)
    plan_of(tumours, spacing=4, on_event=events.append)
    assert events == []


def test_the_normalisation_can_be_chosen(tumours: Path) -> None:
    for name, steps in NORMALISATIONS.items():
        assert plan_of(tumours, normalise=name).pipeline.intensity == steps
    assert "--normalise cannot be 'magic'" in refused(lambda: plan_of(tumours, normalise="magic"))


def test_every_choice_of_the_pre_processing_reaches_the_pipeline(tumours: Path) -> None:
    def steps(**choices: Any) -> list[str]:
        return [step["step"] for step in plan_of(tumours, **choices).pipeline.to_card()]

    plain = ["align", "brain", "reorient", "respace", "crop-to-brain", "zscore"]
    assert steps() == plain
    assert steps(bias="n4", space="mni", standardise="nyul") == [
        *["align", "brain", "n4", "to-template", "reorient", "respace", "crop-to-brain", "nyul", "zscore"]
    ]
    assert steps(bias="none", space="own", standardise="none", align="auto", brain="auto", shape="brain") == plain
    assert plan_of(tumours, align="rigid").pipeline.align == Align("rigid")
    assert plan_of(tumours, brain="bet").pipeline.brain == FindBrain("bet")
    assert plan_of(tumours, shape="paper").pipeline.shape == (192, 240, 192)
    assert plan_of(tumours, spacing=2, shape="paper").pipeline.spacing_mm == (2, 2, 2)


def test_the_papers_preset_has_all_its_steps_and_single_choices_go_before_it(tumours: Path) -> None:
    pipeline = plan_of(tumours, preset="paper").pipeline
    assert [step["step"] for step in pipeline.to_card()] == [
        *["align", "brain", "n4", "to-template", "reorient", "respace", "pad-or-crop", "nyul", "zscore", "rescale"]
    ]
    assert pipeline.spacing_mm == (1, 1, 1)
    changed = plan_of(tumours, preset="paper", bias="none", spacing=2).pipeline
    assert changed == replace(
        pipeline,
        bias=None,
        geometry=tuple(Respace((2.0,) * 3) if s.step == "respace" else s for s in pipeline.geometry),
    )


def test_the_scale_that_the_source_learned_is_kept_unless_a_new_one_is_asked_for(tumours: Path) -> None:
    learned = Standardise({channel: tuple(range(11)) for channel in CHANNELS})
    source = make_source()
    card = replace(Pipeline(), intensity=(learned, ZScore())).to_card()
    source = replace(source, card=source.card.model_copy(update={"preprocessing": card}))
    assert learned in plan_of(tumours, source, "all").pipeline.intensity
    assert not plan_of(tumours, source, "all").pipeline.learns
    assert plan_of(tumours, source, "all", standardise="nyul").pipeline.learns
    assert plan_of(tumours, source, "all", standardise="none").pipeline.intensity == (ZScore(),)
    assert plan_of(tumours, source, "all", normalise="minmax").pipeline.intensity[0] == learned


# Leaks


def test_a_case_to_be_scored_that_the_source_has_seen_is_warned_about(tumours: Path) -> None:
    source = make_source([f"Brats18_Site0{number}_1" for number in (0, 1, 2)])
    events: list[Event] = []
    options = {"validation": ["Brats18_Site01_1"], "held_out": ["Brats18_Site02_1", "Brats18_Site03_1"]}
    plan_of(tumours, source, "all", on_event=events.append, **options)
    told = "The source model has seen this case: its score will be too good."
    assert events == [Warning(told, "Brats18_Site01_1"), Warning(told, "Brats18_Site02_1")]
    events.clear()
    plan_of(tumours, source, "scratch", on_event=events.append, **options)  # nothing of the source is used
    assert events == []


# To go on


def test_what_must_be_the_same_for_a_run_to_go_on_is_plain_and_tells_plans_apart(tumours: Path) -> None:
    source = make_source()
    plans = [
        plan_of(tumours),
        plan_of(tumours, source),
        plan_of(tumours, source, "all"),
        plan_of(tumours, make_source(base_filters=2), "all"),
        plan_of(tumours, source, "all", channels=CHANNELS[::-1]),
        plan_of(tumours, source, "all", spacing=2),
        plan_of(tumours, source, "all", normalise=next(iter(NORMALISATIONS)), spacing=3),
        plan_of(tumours, source, "all", labels=replace(GLIOMA, classes=GLIOMA.classes[:3], regions={"r": ("edema",)})),
        plan_of(
            tumours, source, "all", statistics="image" if source.card.network.statistics == "running" else "running"
        ),
    ]
    texts = [json.dumps(plan.identity, sort_keys=True) for plan in plans]
    assert len(set(texts)) == len(plans)
    assert json.dumps(plan_of(tumours, source, "all").identity, sort_keys=True) == texts[2]
