"""The live preview: what the network gives for one case while it learns, without changing what it learns."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from brains import make_brain, write_case, write_dataset
from test_training import recipe

from TransferSegLib import engines, preview, training
from TransferSegLib.case import load_case
from TransferSegLib.case_files import CaseFiles
from TransferSegLib.datasets import find_cases
from TransferSegLib.errors import InputError
from TransferSegLib.events import CancelToken, Event, Message, Metric, Preview, Warning
from TransferSegLib.inference import segment
from TransferSegLib.labels import GLIOMA
from TransferSegLib.network import UNet
from TransferSegLib.recipe import Recipe
from TransferSegLib.runs import Run, fine_tune
from TransferSegLib.volume import read_volume

EARLY = "Brats18_Site00_1"  # the first validation case


@pytest.fixture(scope="module", autouse=True)
def tumours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Cases on grids of their own, of which one has its flair and its labels on an oblique one."""
    folder = tmp_path_factory.mktemp("preview")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSEG_CACHE", str(folder / "cache"))
        patch.setattr(engines, "_has_openvino", lambda: False)
        yield write_dataset(folder / "tumours", 3)


def tune(tumours: Path | list[CaseFiles], out: Path, chosen: Recipe | None = None, **options: Any) -> Run:
    options = {"validation": [EARLY], "spacing": 5, **options}
    return fine_tune(tumours, out, None, "scratch", chosen or recipe(epochs=2), **options)


def previews(events: list[Event]) -> list[Preview]:
    return [event for event in events if isinstance(event, Preview)]


def improving(monkeypatch: pytest.MonkeyPatch, *sums: float) -> None:
    """Let the validation find these sums of Dice, epoch by epoch."""
    script = iter(sums)
    monkeypatch.setattr(
        training, "validate", lambda *_: dict.fromkeys(map("dice_{}".format, GLIOMA.regions), next(script) / 3)
    )


def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "PAUSE", 0.0)


def clock(monkeypatch: pytest.MonkeyPatch, drawing_s: float) -> list[float]:
    """The time as :mod:`preview` sees it, which passes by drawing, and as the test adds to it."""
    now, write = [0.0], preview.write_volume

    def slowly(*arguments: Any) -> Path:
        now[0] += drawing_s
        return write(*arguments)

    monkeypatch.setattr(preview.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(preview, "write_volume", slowly)
    return now


# What it shows


def test_it_is_what_the_model_gives_for_the_case_on_its_own_grid(tumours: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    run = tune(
        tumours,
        tmp_path / "out",
        recipe(epochs=12, learning_rate=0.03),
        preview=tmp_path / "p.nii.gz",
        on_event=events.append,
    )
    shown = read_volume(tmp_path / "p.nii.gz")
    case = next(case for case in find_cases(tumours) if case.name == EARLY)
    expected = segment(case, run.model, engine="torch", device="cpu")
    assert shown.grid.matches(expected.labels.grid)
    np.testing.assert_array_equal(shown.data, GLIOMA.decode(expected.labels.data))
    assert {0, 4} <= set(np.unique(shown.data)) <= {0, 1, 2, 4}, "it has learned something, and label 3 is written as 4"
    best = run.model.card.training.hyperparameters["best_epoch"]
    assert previews(events)[-1] == Preview(EARLY, tmp_path / "p.nii.gz", best)  # type: ignore[arg-type]


def test_the_grid_and_header_are_those_of_the_reference_channel(tumours: Path, tmp_path: Path) -> None:
    image, _, labels = make_brain(7)
    affine = np.array([[-2.0, 0.6, 0, 40], [0.5, 3.5, 0, -30], [0, 0, 4.5, 12], [0, 0, 0, 1]])
    folder = tmp_path / "data" / "oblique"
    write_case(folder, 7)
    for name, array in (("flair", image[3]), ("seg", GLIOMA.decode(labels))):
        nifti = nib.Nifti1Image(array, affine)
        nifti.set_sform(affine, code="aligned")
        nib.save(nifti, folder / f"oblique_{name}.nii.gz")
    # The other channels are those of the same brain, resampled nowhere: only their headers differ.
    for name in ("t1", "t1c", "t2"):
        nib.save(nib.Nifti1Image(image[("t1", "t1c", "t2").index(name)], affine), folder / f"oblique_{name}.nii.gz")
    cases = [*find_cases(tumours), *find_cases(tmp_path / "data")]
    tune(cases, tmp_path / "out", validation=["oblique"], labels="glioma", preview=tmp_path / "p.nii.gz", align="none")
    shown = nib.load(tmp_path / "p.nii.gz")
    np.testing.assert_allclose(shown.affine, affine, atol=1e-5)
    assert shown.shape == image.shape[1:]
    assert int(shown.header["sform_code"]) == 2, "the header's conventions are the reference's"
    assert shown.get_data_dtype() == np.uint8


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_the_file_may_have_any_format_that_can_be_written(tumours: Path, tmp_path: Path, ending: str) -> None:
    file = tmp_path / "neuer Ordner" / f"Vorschau é{ending}"
    tune(tumours, tmp_path / "out", recipe(epochs=1), preview=str(file))
    assert read_volume(file).grid.shape == (16, 16, 16)


# When it shows


def epochs_shown(
    tumours: Path, out: Path, monkeypatch: pytest.MonkeyPatch, sums: tuple[float, ...], **options: Any
) -> list[int]:
    improving(monkeypatch, *sums)
    events: list[Event] = []
    tune(tumours, out, recipe(epochs=len(sums)), preview=out / "p.nii", on_event=events.append, **options)
    assert {(event.case, event.file) for event in previews(events)} == {(EARLY, out / "p.nii")}
    return [event.epoch for event in previews(events)]


def test_it_is_shown_after_each_epoch_that_is_the_best_so_far(
    tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_pause(monkeypatch)
    assert epochs_shown(tumours, tmp_path / "out", monkeypatch, (0.5, 0.4, 0.9, 0.9, 1.2, 0.1)) == [1, 3, 5]


def test_within_the_pause_only_the_first_and_the_last_best_are_shown(
    tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 1)
    assert epochs_shown(tumours, tmp_path / "a", monkeypatch, (0.1, 0.2, 0.3, 0.4, 0.2)) == [1, 4]
    assert epochs_shown(tumours, tmp_path / "b", monkeypatch, (0.9, 0.2, 0.3)) == [1], "not the same one twice"


def test_the_last_one_is_drawn_when_the_model_is_safe(
    tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    improving(monkeypatch, 0.1, 0.2)
    saved: list[bool] = []

    def listen(event: Event) -> None:
        if isinstance(event, Preview):
            saved.append((tmp_path / "out" / "model" / "model.json").exists())

    tune(tumours, tmp_path / "out", preview=tmp_path / "p.nii", on_event=listen)
    assert saved == [False, True]


@pytest.mark.parametrize(
    ("drawing_s", "epochs"), [(0.1, [1, 2, 3, 4, 5]), (1, [1, 3, 5]), (1.5, [1, 4, 5]), (30, [1, 5])]
)
def test_the_pause_begins_when_a_preview_is_written_and_is_nine_times_as_long(
    tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawing_s: float, epochs: list[int]
) -> None:
    """Each epoch takes 6 s; after the last one the best is shown in any case."""
    now = clock(monkeypatch, drawing_s)
    improving(monkeypatch, 0.1, 0.2, 0.3, 0.4, 0.5, 0.4)
    shown: list[Event] = []

    def listen(event: Event) -> None:
        now[0] += 6 * isinstance(event, Metric)
        shown.append(event)

    tune(tumours, tmp_path / "out", recipe(epochs=6), preview=tmp_path / "p.nii", on_event=listen)
    assert [event.epoch for event in previews(shown)] == epochs


def test_the_file_is_whole_whenever_it_is_told_of_and_only_then(
    tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_pause(monkeypatch)
    improving(monkeypatch, 0.1, 0.2, 0.3)
    file, seen = tmp_path / "live" / "p.nii.gz", []

    def look(event: Event) -> None:
        if isinstance(event, Preview):
            assert [item.name for item in file.parent.iterdir()] == ["p.nii.gz"]
            seen.append((event.epoch, read_volume(file).data.copy()))
        elif not seen:
            assert not file.exists()

    tune(tumours, tmp_path / "out", recipe(epochs=3, learning_rate=0.05), preview=file, on_event=look)
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert not all(np.array_equal(seen[0][1], labels) for _, labels in seen[1:]), "the network has changed"


def test_it_is_told_after_the_numbers_of_its_epoch(tumours: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    tune(tumours, tmp_path / "out", recipe(epochs=1), preview=tmp_path / "p.nii", on_event=events.append)
    told = [event for event in events if isinstance(event, Metric | Preview)]
    assert [(type(event), getattr(event, "step", 1)) for event in told] == [(Metric, 1), (Preview, 1)]
    assert json.loads(told[1].to_json()) == {
        "event": "preview",
        "case": EARLY,
        "file": str(tmp_path / "p.nii"),
        "epoch": 1,
    }


def test_a_run_that_is_stopped_shows_its_last_best_and_goes_on_showing(
    tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, events = CancelToken(), []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Metric) and event.step == 3:
            cancel.cancel()

    improving(monkeypatch, 0.1, 0.2, 0.3)
    options: dict[str, Any] = {"preview": tmp_path / "p.nii"}
    stopped = tune(tumours, tmp_path / "out", recipe(epochs=5), cancel=cancel, on_event=listen, **options)
    assert stopped.cancelled
    assert [event.epoch for event in previews(events)] == [1, 3]
    events.clear()
    improving(monkeypatch, 0.2, 0.2)
    tune(tumours, tmp_path / "out", recipe(epochs=5), resume=True, on_event=events.append, **options)
    assert [event.epoch for event in previews(events)] == [3], "nothing better came; whoever resumed sees the best"


# What it must not do


@pytest.mark.parametrize(
    "changes",
    [
        {"settle": 1.0},
        {"augmentation": ("flip", "affine", "noise"), "batch_size": 2, "precision": "bfloat16", "settle": 0.5},
        {"patch": 16, "patches_per_case": 2, "weight_decay": 0.1},
    ],
    ids=["plain", "augmented in bfloat16", "patches"],
)
@pytest.mark.parametrize("statistics", ["image", "running"])
def test_it_does_not_change_what_is_learned_by_one_bit(
    tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], statistics: str
) -> None:
    no_pause(monkeypatch)
    better = itertools.count()
    monkeypatch.setattr(training, "score", lambda *_: float(next(better)))
    events: list[Event] = []
    chosen = recipe(epochs=2, **{"settle": 0.5, **changes})
    runs = [
        tune(tumours, tmp_path / "without", chosen, statistics=statistics),
        tune(
            tumours,
            tmp_path / "with",
            chosen,
            statistics=statistics,
            preview=tmp_path / "p.nii",
            on_event=events.append,
        ),
    ]
    assert len(previews(events)) == 2
    without, shown = (run.model.weights for run in runs)
    assert without.keys() == shown.keys()
    for name, array in without.items():
        assert array.tobytes() == shown[name].tobytes(), name
    assert without_seconds(runs[0]) == without_seconds(runs[1])


def without_seconds(run: Run) -> list[Mapping[str, float]]:
    return [{**row, "seconds": 0} for row in run.history]


def test_it_leaves_the_network_as_it_was_in_memory_too(tumours: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UNet(4, 4, 2)
    training.channels_last(network)
    network.train()
    before = {name: (t.clone(), t.stride(), t.data_ptr()) for name, t in network.state_dict().items()}
    random, numbers = torch.get_rng_state(), np.random.get_state()[1]
    live, prepared = made_for(tumours, tmp_path / "p.nii")
    live(network, [prepared], 1)
    assert (tmp_path / "p.nii").exists()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name][0]), name
        assert (tensor.stride(), tensor.data_ptr()) == before[name][1:], name
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert np.array_equal(np.random.get_state()[1], numbers)


def made_for(tumours: Path, file: Path, events: list[Event] | None = None) -> tuple[preview.LivePreview, Any]:
    """A preview of the first case, and the case as the network sees it."""
    from TransferSegLib.plan import make_plan
    from TransferSegLib.preparation import Preparation

    plan = make_plan(
        *(tumours, None, "scratch", recipe(), None, None, Preparation(spacing=5), None, [EARLY], 0.0),
        lambda event: None,
    )
    live = preview.make_preview(file, plan, (events if events is not None else []).append)
    assert live is not None
    case = load_case(plan.roles.validation[0], plan.channels, plan.scheme)
    return live, plan.pipeline.apply(case, plan.channels)


def test_without_validation_cases_there_is_none_which_is_said(tumours: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    tune(
        tumours, tmp_path / "out", recipe(epochs=1), validation=0.0, preview=tmp_path / "p.nii", on_event=events.append
    )
    assert previews(events) == []
    assert not (tmp_path / "p.nii").exists()
    assert Message("plan", "There is no preview: no case is for validation.") in events


def test_unless_it_is_asked_for_there_is_none(tumours: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    tune(tumours, tmp_path / "out", recipe(epochs=1), on_event=events.append)
    assert previews(events) == []


def test_trouble_with_the_file_is_told_once_and_does_not_end_the_training(
    tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_pause(monkeypatch)
    improving(monkeypatch, 0.1, 0.2, 0.3, 0.4)
    file, events = tmp_path / "p.nii", []
    file.mkdir()  # in the way until epoch 3

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Metric) and event.step == 3:
            file.rmdir()

    run = tune(tumours, tmp_path / "out", recipe(epochs=4), preview=file, on_event=listen)
    assert len(run.history) == 4
    (warning,) = [event for event in events if isinstance(event, Warning)]
    assert warning == Warning(
        f"The preview cannot be written. {file} cannot be written: a folder stands in the way. Choose another name.",
        EARLY,
    )
    assert [event.epoch for event in previews(events)] == [3, 4]


def test_a_case_that_has_gone_is_told_and_does_not_end_the_training(tumours: Path, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", 3)
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if event.name == "plan":
            os.remove(next(data.rglob(f"{EARLY}_flair.nii.gz")))

    assert len(tune(data, tmp_path / "out", preview=tmp_path / "p.nii", on_event=listen).history) == 2
    (warning,) = [event for event in events if isinstance(event, Warning)]
    assert "_flair.nii.gz does not exist." in warning.text


def test_a_full_memory_while_it_is_drawn_does_not_end_the_training(
    tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(preview, "labels_on", fail)
    events: list[Event] = []
    assert len(tune(tumours, tmp_path / "out", preview=tmp_path / "p.nii", on_event=events.append).history) == 2
    assert [event.text for event in events if isinstance(event, Warning)] == [
        "The preview cannot be written. The memory is full. Train on a coarser grid (--spacing 2)."
    ]


def test_a_bug_in_it_is_not_hidden(tumours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(preview, "labels_on", fail)
    with pytest.raises(ZeroDivisionError):
        tune(tumours, tmp_path / "out", preview=tmp_path / "p.nii")


# What is refused before anything is prepared


@pytest.mark.parametrize("name", ["p.png", "p", "p.hdr"])
def test_a_file_that_cannot_be_a_label_map_is_refused_at_once(tumours: Path, tmp_path: Path, name: str) -> None:
    events: list[Event] = []
    with pytest.raises(InputError, match="has no image ending we can write"):
        tune(tumours, tmp_path / "out", preview=tmp_path / name, on_event=events.append)
    assert events == []


@pytest.mark.parametrize("role", ["validation", "held_out"])
@pytest.mark.parametrize("what", ["t1", "seg"])
def test_an_image_of_a_case_is_never_overwritten(tumours: Path, tmp_path: Path, role: str, what: str) -> None:
    (file,) = tumours.rglob(f"{EARLY}_{what}.nii.gz")
    before = file.read_bytes()
    with pytest.raises(InputError) as caught:
        tune(tumours, tmp_path / "out", preview=file, **{"validation": 0.0, "held_out": 0.0, role: [EARLY]})
    assert str(caught.value) == f"{file} is an image of the case '{EARLY}'. Choose another file for the preview."
    assert file.read_bytes() == before


def test_the_case_is_named_as_the_user_names_it(tumours: Path, tmp_path: Path) -> None:
    cases = [replace(case, name=f'Fall {number}: é, "x"') for number, case in enumerate(find_cases(tumours))]
    events: list[Event] = []
    options: dict[str, Any] = {"validation": [cases[1].name], "labels": "glioma", "on_event": events.append}
    tune(cases, tmp_path / "out", recipe(epochs=1), preview=tmp_path / "p.nii", **options)
    assert [event.case for event in previews(events)] == ['Fall 1: é, "x"']
