"""Preparing images: what the network would see of each case, as files to look at."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from brains import write_case
from model_examples import small_model

from TransferSegLib.case import load_case
from TransferSegLib.case_files import CHANNELS, CaseFiles
from TransferSegLib.datasets import parse_case
from TransferSegLib.errors import Cancelled, DependencyError, InputError
from TransferSegLib.events import CancelToken, Event, Failure, Result
from TransferSegLib.model import save_model
from TransferSegLib.plan import make_pipeline
from TransferSegLib.preparation import Preparation
from TransferSegLib.prepare import prepare_images
from TransferSegLib.volume import read_volume, write_volume


def finder(*folders: Path) -> Callable[[Sequence[str]], list[CaseFiles]]:
    return lambda channels: [case for folder in folders for case in parse_case(str(folder), channels).cases]


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return write_case(tmp_path / "data" / "anna")


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_each_channel_and_the_brain_are_written_on_the_working_grid(case: Path, tmp_path: Path) -> None:
    assert prepare_images(finder(case), tmp_path / "out", spacing=6) == {}
    assert files(tmp_path / "out") == [
        "anna",
        *sorted(f"anna/{name}.nii.gz" for name in (*CHANNELS, "brain")),
    ]
    written = {name: read_volume(tmp_path / "out" / "anna" / f"{name}.nii.gz") for name in (*CHANNELS, "brain")}
    assert {volume.grid.shape for volume in written.values()} == {written["brain"].grid.shape}
    assert all(np.allclose(volume.grid.spacing, 6, atol=0.3) for volume in written.values())
    assert written["brain"].data.dtype == np.uint8
    assert set(np.unique(written["brain"].data)) == {0, 1}


def test_it_is_what_the_network_sees_value_by_value(case: Path, tmp_path: Path) -> None:
    prepare_images(finder(case), tmp_path / "out", spacing=6)
    files = parse_case(str(case)).cases[0]
    seen = make_pipeline(None, Preparation(spacing=6)).apply(load_case(files), CHANNELS)
    for index, channel in enumerate(CHANNELS):
        written = read_volume(tmp_path / "out" / "anna" / f"{channel}.nii.gz")
        assert np.array_equal(written.data, seen.image[index])
        assert written.grid.matches(seen.grid)
    brain = read_volume(tmp_path / "out" / "anna" / "brain.nii.gz").data
    assert np.array_equal(brain, seen.brain)
    assert not seen.image[:, brain == 0].any()


def test_the_channels_are_those_asked_for(case: Path, tmp_path: Path) -> None:
    prepare_images(finder(case), tmp_path / "out", spacing=6, channels=["flair", "t1"])
    assert files(tmp_path / "out" / "anna") == ["brain.nii.gz", "flair.nii.gz", "t1.nii.gz"]


def test_a_model_decides_channels_and_steps(case: Path, tmp_path: Path) -> None:
    steps = [{"step": "respace", "spacing_mm": [8, 8, 8]}, {"step": "zscore", "clip": None}]
    network = {"in_channels": 2, "classes": 4, "base_filters": 4, "steps": 4}
    model = small_model(channels=["t2", "t1"], preprocessing=steps, network=network, shape=None, spacing_mm=[8, 8, 8])
    save_model(model, tmp_path / "model")
    prepare_images(finder(case), tmp_path / "out", model=tmp_path / "model")
    assert files(tmp_path / "out" / "anna") == ["brain.nii.gz", "t1.nii.gz", "t2.nii.gz"]
    volume = read_volume(tmp_path / "out" / "anna" / "t2.nii.gz")
    assert volume.grid.shape == (8, 8, 8)
    assert abs(volume.data.mean()) < 1e-5
    assert volume.data.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("normalise", "low", "high"), [("minmax", 0, 1), ("zscore", -5, 5)])
def test_the_scaling_is_the_one_asked_for(case: Path, tmp_path: Path, normalise: str, low: float, high: float) -> None:
    prepare_images(finder(case), tmp_path / "out", spacing=6, normalise=normalise)
    values = read_volume(tmp_path / "out" / "anna" / "t1.nii.gz").data
    assert low <= values.min() < values.max() <= high
    assert (values.min() < 0) == (low < 0)


def test_a_bad_case_is_named_and_the_others_are_written(case: Path, tmp_path: Path) -> None:
    bad = shutil.copytree(case, tmp_path / "data" / "bert")
    (bad / "anna_t1.nii.gz").write_text("hello")
    events: list[Event] = []
    failed = prepare_images(finder(bad, case), tmp_path / "out", spacing=6, on_event=events.append)
    assert list(failed) == ["bert"]
    assert str(failed["bert"]) == f"{bad / 'anna_t1.nii.gz'} is not a NIfTI image. Check what kind of file it is."
    assert [event.case for event in events if isinstance(event, Failure)] == ["bert"]
    assert events[-1] == Result({"written": 1, "failed": 1, "folder": tmp_path / "out"})
    assert files(tmp_path / "out")[0] == "anna"
    assert not (tmp_path / "out" / "bert").exists()


def test_when_cancelled_it_stops_before_the_next_case(case: Path, tmp_path: Path) -> None:
    second = shutil.copytree(case, tmp_path / "data" / "bert")
    cancel = CancelToken(tmp_path / "out" / "anna" / "brain.nii.gz")  # there as soon as the first case is done
    with pytest.raises(Cancelled):
        prepare_images(finder(case, second), tmp_path / "out", spacing=6, cancel=cancel)
    assert (tmp_path / "out" / "anna").is_dir()
    assert not (tmp_path / "out" / "bert").exists()


def test_an_unknown_scaling_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    def find(channels: Sequence[str]) -> list[CaseFiles]:
        pytest.fail("not reached")

    with pytest.raises(InputError, match="--normalise cannot be 'loud'"):
        prepare_images(find, tmp_path / "out", normalise="loud")


def test_two_cases_of_one_name_do_not_overwrite_each_other(case: Path, tmp_path: Path) -> None:
    other = shutil.copytree(case, tmp_path / "other" / "anna")
    with pytest.raises(InputError) as caught:
        prepare_images(finder(case, other), tmp_path / "out", spacing=6)
    assert caught.value.cause == "Two cases are called 'anna'."
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("learns", [False, True])
def test_an_image_of_a_case_is_never_replaced_and_nothing_is_written_beside_it(
    case: Path, tmp_path: Path, learns: bool
) -> None:
    bert = shutil.copytree(case, tmp_path / "data" / "bert")
    own = (bert / "anna_t2.nii.gz").rename(bert / "t2.nii.gz")
    before, there = own.read_bytes(), files(tmp_path / "data")
    with pytest.raises(InputError) as caught:
        prepare_images(
            finder(case, bert), tmp_path / "data", spacing=6, report=True, standardise="nyul" if learns else "none"
        )
    assert str(caught.value) == f"{own} is an image of the case itself. Choose another output folder."
    assert own.read_bytes() == before
    assert files(tmp_path / "data") == there


@pytest.mark.parametrize("channels", [["../../t1"], ["t1", "t1"]])
def test_channels_that_cannot_name_files_are_refused_before_anything_is_read(
    tmp_path: Path, channels: list[str]
) -> None:
    with pytest.raises(InputError, match=r"cannot be the name of a channel|is given twice"):
        prepare_images(lambda _: pytest.fail("not reached"), tmp_path / "out", channels=channels)


def test_a_scale_that_is_yet_to_be_learned_is_learned_on_the_cases(tmp_path: Path) -> None:
    folders = [write_case(tmp_path / "data" / name, seed=seed) for seed, name in enumerate(("anna", "bert", "carl"))]
    prepare_images(finder(*folders), tmp_path / "out", spacing=6, standardise="nyul", normalise="zscore", jobs=2)
    pipeline = make_pipeline(None, Preparation(spacing=6, standardise="nyul", normalise="zscore"))
    cases = [load_case(parse_case(str(folder)).cases[0]) for folder in folders]
    sampled = [pipeline.sample(pipeline.place(case), CHANNELS) for case in cases]
    learned = pipeline.learned(sampled, CHANNELS)
    assert not learned.learns
    for case in cases:
        seen = learned.apply(case, CHANNELS)
        written = read_volume(tmp_path / "out" / case.name / "t2.nii.gz").data
        assert np.array_equal(written, seen.image[CHANNELS.index("t2")])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["anna", "bert", "carl"]


def test_several_processes_write_the_same_as_one(case: Path, tmp_path: Path) -> None:
    other = write_case(tmp_path / "data" / "bert", seed=1)
    for jobs in (1, 2):
        prepare_images(finder(case, other), tmp_path / str(jobs), spacing=6, jobs=jobs)
    assert files(tmp_path / "1") == files(tmp_path / "2")
    for name in ("anna/t1.nii.gz", "bert/flair.nii.gz", "bert/brain.nii.gz"):
        one, two = (read_volume(tmp_path / jobs / name).data for jobs in "12")
        assert np.array_equal(one, two)


def test_the_report_shows_each_case_and_those_with_warnings_first(case: Path, tmp_path: Path) -> None:
    doubtful = write_case(tmp_path / "data" / "zoe", seed=1)
    reference = read_volume(doubtful / "zoe_t1.nii.gz")
    mask = reference.with_data((reference.data > 0).astype(np.uint8))
    write_volume(mask, doubtful / "zoe_brain_mask.nii.gz")  # phantoms have the brain of a cat
    events: list[Event] = []
    prepare_images(finder(case, doubtful), tmp_path / "out", spacing=6, report=True, on_event=events.append)
    index = tmp_path / "out" / "report" / "index.html"
    assert events[-1] == Result({"written": 2, "failed": 0, "folder": tmp_path / "out", "report": index})
    page = index.read_text("utf-8")
    assert page.index("zoe.png") < page.index("anna.png")
    assert "2 cases, 1 with warnings" in page
    assert "The given brain mask has" in page
    assert "extracted before" in page
    for name in ("anna", "zoe"):
        picture = (tmp_path / "out" / "report" / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 20_000


def test_without_matplotlib_the_report_is_refused_before_anything_is_done(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match="matplotlib is not installed"):
        prepare_images(finder(case), tmp_path / "out", spacing=6, report=True)
    assert not (tmp_path / "out").exists()


def test_when_no_case_can_be_placed_there_is_nothing_to_learn_and_each_is_named(case: Path, tmp_path: Path) -> None:
    (case / "anna_t1.nii.gz").write_text("hello")
    failed = prepare_images(finder(case), tmp_path / "out", spacing=6, standardise="nyul")
    assert list(failed) == ["anna"]
    assert list((tmp_path / "out").iterdir()) == []
