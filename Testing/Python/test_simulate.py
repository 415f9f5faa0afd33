"""Simulated patients: labels exactly where images are bright, at any spacing; folders of them, and the command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from command import ROOT, error, run
from heads import dice
from numpy.typing import NDArray
from phantoms import centre_of, make_grid, volume_ml
from scipy import ndimage
from typer.testing import CliRunner

from TransferSegLib import cli, datasets
from TransferSegLib import simulate as subject
from TransferSegLib.case import Case, load_case
from TransferSegLib.case_files import CHANNELS
from TransferSegLib.datasets import find_cases
from TransferSegLib.errors import Cancelled, InputError
from TransferSegLib.events import CancelToken, Event, Progress
from TransferSegLib.labels import GLIOMA, LESION
from TransferSegLib.preprocess.brain import extracted_brain
from TransferSegLib.resample import resample, resample_labels
from TransferSegLib.simulate import (
    DISEASES,
    SimulatedPatient,
    simulate_dataset,
    simulate_patient,
    write_sample_case,
)
from TransferSegLib.simulation.lesions import bank_patients
from TransferSegLib.simulation.tumour import Tumour
from TransferSegLib.volume import Volume, read_volume

# Patients of these spacings are all made on voxels of the first one, the others are resampled.
FINE, THICK, COARSE = 2.0, (2.0, 2.0, 4.0), 4.0
SPACINGS = (FINE, THICK, COARSE)
# With lesions of 19 ml; with a glioma of high grade of 32 ml.
SEEDS = {"ms": 1, "glioma": 5}
NECROTIC, EDEMA, ENHANCING = (GLIOMA.names.index(name) for name in ("necrotic", "edema", "enhancing"))

Mask = NDArray[np.bool_]


@cache
def patient(disease: str, spacing: float | tuple[float, ...] = COARSE) -> SimulatedPatient:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "_COARSEST_MM", FINE)
        return simulate_patient(disease, (SEEDS[disease], 0), spacing)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patients of 6 mm are made at 6 mm: for what is not about images."""
    monkeypatch.setattr(subject, "_COARSEST_MM", 6.0)


def pretended(
    disease: str, seed: tuple[int, int], spacing: Sequence[float], without: Sequence[int] = ()
) -> SimulatedPatient:
    """In the place of a patient, where only folders and files are looked at."""
    random = np.random.default_rng(seed)
    grid = make_grid((4.0, 4.0, 4.0), extent=32)
    channels = {channel: random.integers(1, 99, grid.shape).astype(np.int16) for channel in CHANNELS}
    labels = random.integers(0, len(DISEASES[disease]), grid.shape).astype(np.uint8)
    return SimulatedPatient(grid, channels, labels, DISEASES[disease], "LGG" if disease == "glioma" else "")


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "simulate_patient", pretended)


def brain_of(one: SimulatedPatient) -> Mask:
    return np.asarray(one.channels["t1"] > 0)


def white_matter(one: SimulatedPatient) -> Mask:
    """The brightest third of what is healthy in T1, where it is bright."""
    healthy = brain_of(one) & (one.labels == 0)
    t1 = one.channels["t1"]
    return np.asarray(healthy & (t1 > np.percentile(t1[healthy], 67)))


def inner(one: SimulatedPatient, *labels: int) -> Mask:
    return np.asarray(np.isin(one.labels, labels))


def contrast(one: SimulatedPatient, channel: str, *labels: int) -> float:
    """Brightness of what has one of ``labels``, as a share of that of white matter."""
    image = one.channels[channel].astype(float)
    return float(image[inner(one, *labels)].mean() / image[white_matter(one)].mean())


def as_case(one: SimulatedPatient) -> Case:
    volumes = {channel: Volume(image, one.grid) for channel, image in one.channels.items()}
    return Case("patient", volumes, "flair", one.labels)


@pytest.mark.parametrize("disease", DISEASES)
class TestAPatient:
    def test_four_channels_and_labels_stand_on_one_grid_along_ras(self, disease: str) -> None:
        one = patient(disease)
        assert tuple(one.channels) == CHANNELS
        assert one.scheme is {"ms": LESION, "glioma": GLIOMA}[disease]
        assert np.array_equal(one.grid.affine[:3, :3], np.diag([COARSE] * 3))
        for image in one.channels.values():
            assert (image.dtype, image.shape) == (np.int16, one.grid.shape)
        assert (one.labels.dtype, one.labels.shape) == (np.uint8, one.grid.shape)
        assert one.group in {"ms": ("",), "glioma": ("HGG", "LGG")}[disease]

    @pytest.mark.parametrize("spacing", SPACINGS)
    def test_all_channels_are_0_outside_of_the_brain_and_never_inside(
        self, disease: str, spacing: float | tuple[float, ...]
    ) -> None:
        one = patient(disease, spacing)
        brain = brain_of(one)
        for image in one.channels.values():
            assert image.min() == 0
            assert np.array_equal(image > 0, brain)
        assert np.array_equal(ndimage.binary_fill_holes(brain), brain)
        assert not one.labels[~brain].any()

    def test_its_brain_is_taken_for_one_that_was_extracted(self, disease: str) -> None:
        one = patient(disease)
        assert 900 < volume_ml(brain_of(one), one.grid) < 2200
        found = extracted_brain(as_case(one))
        assert found is not None
        assert dice(found, brain_of(one)) > 0.999

    @pytest.mark.parametrize("channel", ["t2", "flair"])
    @pytest.mark.parametrize("spacing", SPACINGS)
    def test_labels_lie_exactly_where_images_are_bright(
        self, disease: str, spacing: float | tuple[float, ...], channel: str
    ) -> None:
        """Moved by a voxel along any axis, or mirrored, they fit worse."""
        one = patient(disease, spacing)
        image, brain = one.channels[channel].astype(float), brain_of(one)

        def bright(mask: Mask) -> float:
            """Mean in ``mask`` less that just outside of it."""
            rim = ndimage.binary_dilation(mask) & ~mask
            return float(image[mask & brain].mean() - image[rim & brain].mean())

        sick = one.labels > 0
        assert bright(sick) > 0.1 * np.median(image[brain])
        for axis in range(3):
            assert bright(np.flip(sick, axis)) < 0.5 * bright(sick)
            for steps in (-2, -1, 1, 2):
                assert bright(np.roll(sick, steps, axis)) < (1.0 if abs(steps) == 1 else 0.9) * bright(sick)


class TestContrast:
    @pytest.mark.parametrize(("disease", "label"), [("ms", 1), ("glioma", EDEMA)])
    def test_lesions_and_edema_are_bright_in_flair_and_t2_and_dark_in_t1(self, disease: str, label: int) -> None:
        one = patient(disease, FINE)
        assert contrast(one, "flair", label) > 1.1
        assert contrast(one, "t2", label) > 1.1
        assert contrast(one, "t1", label) < 1.02
        assert contrast(one, "t1c", label) < 1.05

    def test_the_enhancing_rim_is_bright_in_t1c_only_around_what_is_dark(self) -> None:
        one = patient("glioma", FINE)
        assert one.group == "HGG"
        rim, necrosis, edema = (contrast(one, "t1c", label) for label in (ENHANCING, NECROTIC, EDEMA))
        assert rim > 1.1
        assert rim > 1.1 * max(necrosis, edema)
        assert contrast(one, "t1", ENHANCING) < 1
        away = [
            np.linalg.norm(centre_of(one.labels == label, one.grid) - centre_of(one.labels > 0, one.grid))
            for label in (NECROTIC, ENHANCING)
        ]
        assert max(away) < 15

    @pytest.mark.parametrize("disease", DISEASES)
    def test_fluid_is_dark_in_t1_and_flair_and_bright_in_t2(self, disease: str) -> None:
        """The ventricles: what is darkest in T1 deep in the brain and is not ill."""
        one = patient(disease, FINE)
        deep = np.asarray(ndimage.distance_transform_edt(brain_of(one), one.grid.spacing) > 25) & (one.labels == 0)
        dark = deep & (one.channels["t1"] <= np.percentile(one.channels["t1"][deep], 2))
        for channel, least, most in (("t1", 0, 0.75), ("flair", 0, 0.85), ("t2", 1.2, 4)):
            image = one.channels[channel].astype(float)
            assert least < image[dark].mean() / np.median(image[deep]) < most, channel


@pytest.mark.parametrize("disease", DISEASES)
class TestSpacing:
    """The same patient on other voxels is the same in the world."""

    @pytest.mark.parametrize("spacing", SPACINGS[1:])
    def test_labels_lie_in_the_same_place_and_have_the_same_volume(
        self, disease: str, spacing: float | tuple[float, ...]
    ) -> None:
        fine, coarse = patient(disease, FINE), patient(disease, spacing)
        assert coarse.grid.spacing == tuple(np.broadcast_to(spacing, 3))
        assert coarse.group == fine.group
        again = resample_labels(coarse.labels, coarse.grid, fine.grid, len(fine.scheme)) > 0
        alike = dice(again, fine.labels > 0)
        assert alike > (0.45 if disease == "ms" else 0.9)
        for axis in range(3):
            for steps in (-1, 1):  # half a coarse voxel, or a quarter
                assert dice(np.roll(again, steps, axis), fine.labels > 0) < alike - 0.02
        assert dice(np.flip(again, 0), fine.labels > 0) < 0.75 * alike
        volume = volume_ml(coarse.labels > 0, coarse.grid) / volume_ml(fine.labels > 0, fine.grid)
        if disease == "ms":  # what is smaller than a voxel has no majority there; many lesions are
            assert 0.5 < volume < 1.05
            return
        assert volume == pytest.approx(1, abs=0.04)
        for label in (NECROTIC, EDEMA, ENHANCING):
            one, two = fine.labels == label, coarse.labels == label
            assert volume_ml(two, coarse.grid) == pytest.approx(volume_ml(one, fine.grid), rel=0.25), label
            away = centre_of(two, coarse.grid) - centre_of(one, fine.grid)
            assert (np.abs(away) < 0.5 * np.array(coarse.grid.spacing)).all(), label

    @pytest.mark.parametrize("spacing", SPACINGS[1:])
    def test_images_show_the_same(self, disease: str, spacing: float | tuple[float, ...]) -> None:
        fine, coarse = patient(disease, FINE), patient(disease, spacing)
        assert volume_ml(brain_of(coarse), coarse.grid) == pytest.approx(volume_ml(brain_of(fine), fine.grid), rel=0.03)
        for channel in CHANNELS:
            expected = resample(fine.channels[channel].astype(np.float32), fine.grid, coarse.grid)
            inside = ndimage.binary_erosion(brain_of(coarse))
            values = coarse.channels[channel][inside].astype(float)
            np.testing.assert_allclose(values, expected[inside], atol=1.01)

    def test_three_equal_numbers_mean_the_same_as_one(self, disease: str, quick: None) -> None:
        one, three = simulate_patient(disease, 1, 6.0), simulate_patient(disease, 1, (6, 6, 6))
        assert np.array_equal(one.labels, three.labels)
        assert np.array_equal(one.channels["t2"], three.channels["t2"])


@pytest.mark.parametrize("disease", DISEASES)
def test_the_same_seed_gives_the_same_bits_and_another_one_another_patient(disease: str, quick: None) -> None:
    first, again, other = (simulate_patient(disease, seed, 6.0) for seed in (1, 1, 2))
    assert np.array_equal(first.labels, again.labels)
    assert first.grid.matches(other.grid)
    assert not np.array_equal(brain_of(first), brain_of(other))
    for channel in CHANNELS:
        assert np.array_equal(first.channels[channel], again.channels[channel])
        assert not np.array_equal(first.channels[channel], other.channels[channel])


def test_seed_and_number_are_not_mixed_up(quick: None) -> None:
    one, two = (simulate_patient("glioma", seed, 6.0) for seed in ((1, 2), (2, 1)))
    assert not np.array_equal(one.channels["t1"], two.channels["t1"])


def test_the_tumour_of_the_left_half_is_there_in_the_image(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    """Left stays left from the plan of the tumour to the images."""
    for seed, side in ((0, -1), (1, 1)):

        def draw(random: np.random.Generator, side: int = side) -> Tumour:
            centre = np.array([side * 30.0, 10.0, 30.0], np.float32)
            return Tumour(centre, np.full(3, 18, np.float32), 0.2, False)

        monkeypatch.setattr(subject, "draw_tumour", draw)
        one = simulate_patient("glioma", seed, 4.0)
        core = inner(one, NECROTIC, ENHANCING)
        np.testing.assert_allclose(centre_of(core, one.grid), (side * 30, 10, 30), atol=6)
        t2 = one.channels["t2"].astype(float)
        assert t2[core].mean() > 1.15 * t2[np.flip(core, 0) & (one.labels == 0) & brain_of(one)].mean()


class TestWithout:
    def test_patients_that_are_left_out_do_not_change_who_is_drawn_from_the_others_only(self, quick: None) -> None:
        without = [number for number in bank_patients() if number != 29]
        alone, more = (simulate_patient("ms", 5, 6.0, left_out) for left_out in (without, ()))
        assert not np.array_equal(alone.channels["flair"], more.channels["flair"])

    def test_all_left_out_is_refused(self, quick: None) -> None:
        with pytest.raises(InputError, match="No patient of the lesion bank is left"):
            simulate_patient("ms", 5, 6.0, bank_patients())


class TestRefusals:
    @pytest.mark.parametrize(
        ("spacing", "says"),
        [
            (0.4, "Patients cannot be simulated with voxels of 0.4, 0.4, 0.4 mm. Choose from 0.5 to 6 mm."),
            ((1, 1, 7), "Patients cannot be simulated with voxels of 1, 1, 7 mm. Choose from 0.5 to 6 mm."),
            (-1, "Patients cannot be simulated with voxels of -1, -1, -1 mm. Choose from 0.5 to 6 mm."),
            (float("nan"), "Patients cannot be simulated with voxels of nan, nan, nan mm. Choose from 0.5 to 6 mm."),
            ((1, 2), "Voxels cannot have 2 sizes. Give one number, or one for each of three axes."),
            ((), "Voxels cannot have 0 sizes. Give one number, or one for each of three axes."),
        ],
    )
    def test_voxels_of_no_size_that_makes_sense(
        self, spacing: float | tuple[float, ...], says: str, tmp_path: Path
    ) -> None:
        for call in (
            lambda: simulate_patient("ms", 0, spacing),
            lambda: simulate_dataset("ms", tmp_path / "out", 1, spacing=spacing),
        ):
            with pytest.raises(InputError) as caught:
                call()
            assert str(caught.value) == says
        assert not (tmp_path / "out").exists()

    def test_an_unknown_disease(self) -> None:
        with pytest.raises(InputError) as caught:
            simulate_patient("flu", 0)
        assert str(caught.value) == "There is no simulation of 'flu'. Choose ms or glioma."

    def test_no_cases(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            simulate_dataset("ms", tmp_path / "out", 0)
        assert str(caught.value) == "--cases cannot be 0. Give at least 1."
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(InputError, match="a file stands in the way"):
            simulate_dataset("ms", tmp_path / "file", 1)


_KILLED_MIDWAY = """
import os, signal, sys
import test_simulate as tests
from TransferSegLib import datasets, simulate

def write(volume, path, write=datasets.write_volume):
    if path.name == "ms-sim-4-0001_t2.nii.gz":
        os.kill(os.getpid(), signal.SIGKILL)
    write(volume, path)

datasets.write_volume, simulate.simulate_patient = write, tests.pretended
tests.dataset(sys.argv[1], "ms")
"""


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def dataset(out: Path, disease: str = "glioma", cases: int = 3, **options: object) -> Path:
    """Patients of 6 mm, made in this process."""
    return simulate_dataset(disease, out, cases, **{"seed": 4, "spacing": 6.0, "jobs": 1, **options})  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def images(folder: Path) -> dict[str, bytes]:
    """By name of the file, whatever folder it is in."""
    return {Path(name).name: values for name, values in contents(folder).items() if name.endswith(".gz")}


@pytest.mark.usefixtures("quick")
class TestADataset:
    def test_gliomas_are_found_as_brats_with_grades_and_the_codes_of_brats(self, tmp_path: Path) -> None:
        out = dataset(tmp_path / "out")
        assert out == tmp_path / "out"
        found = find_cases(out)
        assert (found.layout, found.scheme) == ("brats", GLIOMA)
        assert [case.name for case in found] == [f"glioma-sim-4-{number:04d}" for number in range(3)]
        codes = set()
        for number, files in enumerate(found):
            files.require(CHANNELS)
            expected = simulate_patient("glioma", (4, number), 6.0)
            assert files.group == expected.group
            case = load_case(files, scheme=GLIOMA)
            assert case.label is not None
            assert np.array_equal(case.label, expected.labels)
            assert case.grid.matches(expected.grid)
            for channel in CHANNELS:
                assert np.array_equal(case.channels[channel], expected.channels[channel])
                assert case.volumes[channel].data.dtype == np.int16
            assert files.label is not None
            values = read_volume(files.label).data
            assert np.array_equal(values == 4, expected.labels == ENHANCING)
            codes |= set(np.unique(values).tolist())
        assert codes == {0, 1, 2, 4}
        assert json.loads((out / "simulation.json").read_text("utf-8")) == {
            "disease": "glioma",
            "seed": 4,
            "spacing_mm": [6, 6, 6],
            "without": [],
        }

    def test_lesions_are_found_and_told_by_their_values(self, tmp_path: Path) -> None:
        out = dataset(tmp_path / "out", "ms", 1)
        found = find_cases(out)
        assert [case.name for case in found] == ["ms-sim-4-0000"]
        for number, files in enumerate(found):
            files.require(CHANNELS)
            assert files.group == ""
            case = load_case(files, scheme=LESION)
            assert case.label is not None
            assert np.array_equal(case.label, simulate_patient("ms", (4, number), 6.0).labels)
        assert sorted(item.name for item in (out / "ms-sim-4-0000").iterdir()) == [
            f"ms-sim-4-0000_{name}.nii.gz" for name in ("flair", "seg", "t1", "t1ce", "t2")
        ]


@pytest.mark.usefixtures("pretend")
class TestItsFolder:
    def test_a_patient_is_the_same_however_many_there_are(self, tmp_path: Path) -> None:
        few, more = images(dataset(tmp_path / "few", cases=1)), images(dataset(tmp_path / "more", cases=2))
        assert len(few) == 5
        assert len(more) == 10
        assert few.items() <= more.items()

    def test_it_goes_on_where_it_stopped_and_makes_what_is_missing_only(self, tmp_path: Path) -> None:
        out = dataset(tmp_path / "out")
        before = contents(out)
        (gone,) = out.glob("*/glioma-sim-4-0001")
        shutil.rmtree(gone)
        kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.gz")}
        assert dataset(out) == out
        assert contents(out) == before
        assert {path: path.stat().st_mtime_ns for path in kept} == kept

    def test_more_cases_can_be_added(self, tmp_path: Path) -> None:
        dataset(tmp_path / "out", "ms", 1)
        dataset(tmp_path / "out", "ms", 2)
        assert len(find_cases(tmp_path / "out")) == 2

    @pytest.mark.parametrize(
        "other", [{"disease": "ms"}, {"seed": 5}, {"spacing": 5.0}, {"spacing": (6, 6, 5)}, {"without": [3]}], ids=str
    )
    def test_a_folder_of_patients_made_with_other_options_is_refused(
        self, tmp_path: Path, other: dict[str, object]
    ) -> None:
        out = dataset(tmp_path / "out", cases=1)
        before = contents(out)
        with pytest.raises(InputError) as caught:
            dataset(out, **{"cases": 2, **other})  # type: ignore[arg-type]
        assert str(caught.value) == (
            f"{out} holds patients that were simulated with other options. "
            f"Choose another --out; see {out / 'simulation.json'}."
        )
        assert contents(out) == before

    def test_the_same_options_in_other_words_are_not(self, tmp_path: Path) -> None:
        out = dataset(tmp_path / "out", "ms", 1, without=[2, 1])
        before = contents(out)
        dataset(out, "ms", 1, without=(1, 2), spacing=[6, 6, 6])
        assert contents(out) == before

    def test_options_that_fail_do_not_claim_the_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who leaves out too many patients of the bank tries again with fewer."""
        monkeypatch.setattr(subject, "simulate_patient", simulate_patient)
        with pytest.raises(InputError, match="No patient of the lesion bank is left"):
            dataset(tmp_path / "out", "ms", 1, without=bank_patients())
        monkeypatch.setattr(subject, "simulate_patient", pretended)
        dataset(tmp_path / "out", "ms", 1)
        assert len(find_cases(tmp_path / "out")) == 1

    def test_progress_is_told(self, tmp_path: Path) -> None:
        events: list[Event] = []
        dataset(tmp_path / "out", "ms", 2, on_event=events.append)
        assert [(event.stage, event.step, event.of) for event in events if isinstance(event, Progress)] == [
            ("simulate", number, 2) for number in range(3)
        ]

    def test_cancelled_it_keeps_whole_patients_and_goes_on_with_the_same_bits(self, tmp_path: Path) -> None:
        cancel = CancelToken()

        def stop(event: Event) -> None:
            if isinstance(event, Progress) and event.step == 1:
                cancel.cancel()

        with pytest.raises(Cancelled):
            dataset(tmp_path / "out", on_event=stop, cancel=cancel)
        assert len(find_cases(tmp_path / "out")) == 1
        assert leftovers(tmp_path / "out") == []
        dataset(tmp_path / "out")
        assert contents(tmp_path / "out") == contents(dataset(tmp_path / "whole"))

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
    def test_killed_midway_it_leaves_whole_patients_only_and_goes_on(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        killed = subprocess.run(
            [sys.executable, "-c", _KILLED_MIDWAY, str(out)], cwd=Path(__file__).parent, env=environment(), check=False
        )
        assert killed.returncode == -signal.SIGKILL
        assert len(leftovers(out)) == 1, "the second patient was being written"
        assert [case.name for case in find_cases(out)] == ["ms-sim-4-0000"]
        dataset(out, "ms")
        assert images(out).items() >= images(dataset(tmp_path / "whole", "ms")).items()
        assert len(find_cases(out)) == 3

    def test_a_patient_that_fails_while_it_is_written_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = datasets.write_volume

        def full(volume: Volume, path: Path) -> None:
            if path.name.endswith("_t2.nii.gz"):
                raise OSError(28, "No space left on device")
            write(volume, path)

        monkeypatch.setattr(datasets, "write_volume", full)
        with pytest.raises(Exception, match="The disk is full"):
            dataset(tmp_path / "out", "ms", 1)
        assert sorted(contents(tmp_path / "out")) == ["simulation.json"]
        assert leftovers(tmp_path / "out") == []

    def test_the_sample_case_is_a_glioma_of_2_mm_that_is_made_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[tuple[object, ...]] = []

        def simulate(*arguments: object) -> SimulatedPatient:
            made.append(arguments)
            return pretended("glioma", (0, 0), (2.0,))

        monkeypatch.setattr(subject, "simulate_patient", simulate)
        folder = write_sample_case(tmp_path / "new")
        before = contents(folder)
        assert write_sample_case(tmp_path / "new") == folder == tmp_path / "new" / "TransferSegSample"
        assert contents(folder) == before
        assert [arguments[0] for arguments in made] == ["glioma"]
        assert made[0][2] == 2.0
        (files,) = find_cases(folder)
        files.require(CHANNELS)
        assert load_case(files, scheme=GLIOMA).label is not None


def leftovers(folder: Path) -> list[str]:
    """What was being written."""
    return [path.name for path in folder.rglob("*") if ".part." in path.name or ".old." in path.name]


def test_several_processes_make_the_same_patients_as_one(tmp_path: Path) -> None:
    out = simulate_dataset("glioma", tmp_path / "out", 2, 5, 3.0, jobs=2)
    first, second = find_cases(out)
    known = simulate_patient("glioma", (5, 0), 3.0)
    assert (first.name, first.group) == ("glioma-sim-5-0000", known.group)
    case = load_case(first, scheme=GLIOMA)
    assert case.label is not None
    assert np.array_equal(case.label, known.labels)
    for channel in CHANNELS:
        assert np.array_equal(case.channels[channel], known.channels[channel])
    assert not np.array_equal(load_case(second).channels["t1"], case.channels["t1"])


def words(*command: str) -> str:
    """The help of a command without the frames and line breaks of its tables."""
    result = CliRunner().invoke(cli.app, [*command, "--help"], prog_name="transferseg", env={"COLUMNS": "100"})
    assert result.exit_code == 0
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())


class TestTheCommand:
    def test_its_help_explains_every_option_and_has_an_example(self) -> None:
        text = words("simulate")
        assert "Make patients that do not exist: four channels and exact labels, in the layout of BraTS." in text
        for option in ("--out", "--disease", "--cases", "--spacing", "--seed", "--without", "--jobs", "--cancel-file"):
            assert option in text
        assert "Example: transferseg simulate --disease glioma --cases 20 --spacing 2 --out simulated" in text
        assert "simulate" in words()

    def test_its_example_is_one_that_it_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        called: list[tuple[object, ...]] = []
        monkeypatch.setattr(subject, "simulate_dataset", lambda *given: called.append(given) or Path("simulated"))
        done = run(*words("simulate").split("Example: transferseg ")[1].split())
        assert done.code == 0
        assert called[0][:7] == ("glioma", Path("simulated"), 20, 0, [2.0], [], 0)

    def test_every_option_arrives(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        called: list[tuple[object, ...]] = []
        monkeypatch.setattr(subject, "simulate_dataset", lambda *given: called.append(given) or tmp_path)
        options = ("--cases", 3, "--spacing", "1, 1,2.5", "--seed", 8, "--without", "3, 17", "--jobs", 2)
        assert run("simulate", "--out", tmp_path, *options).code == 0
        assert called[0][:7] == ("ms", tmp_path, 3, 8, [1.0, 1.0, 2.5], [3, 17], 2)

    def test_it_writes_patients_and_says_where(self, tmp_path: Path, pretend: None) -> None:
        arguments = ("simulate", "--disease", "ms", "--cases", 1, "--spacing", 6, "--seed", 4)
        done = run(*arguments, "--out", tmp_path / "first")
        assert done.code == 0
        assert dict(line.split(None, 1) for line in done.out.splitlines()) == {
            "patients": "1",
            "folder": str(tmp_path / "first"),
        }
        again = run(*arguments, "--out", tmp_path / "second", "--events")
        assert again.code == 0
        assert again.of("result")[-1]["values"] == {"patients": 1, "folder": str(tmp_path / "second")}
        assert contents(tmp_path / "first") == contents(tmp_path / "second")
        expected = contents(dataset(tmp_path / "third", "ms", 1))
        assert contents(tmp_path / "first") == expected

    @pytest.mark.parametrize(
        ("options", "cause", "remedy"),
        [
            (("--disease", "flu"), "There is no simulation of 'flu'.", "Choose ms or glioma."),
            (("--cases", 0), "--cases cannot be 0.", "Give at least 1."),
            (("--spacing", "a"), "--spacing cannot be 'a'.", "Give numbers, comma-separated."),
            (("--spacing", "1,2"), "Voxels cannot have 2 sizes.", "Give one number, or one for each of three axes."),
            (
                ("--spacing", "9"),
                "Patients cannot be simulated with voxels of 9, 9, 9 mm.",
                "Choose from 0.5 to 6 mm.",
            ),
            (("--without", "x"), "--without cannot be 'x'.", "Give numbers, comma-separated."),
            (("--without", "1.5"), "--without cannot be '1.5'.", "Give numbers, comma-separated."),
        ],
    )
    def test_what_it_refuses_it_refuses_before_anything_is_made(
        self, tmp_path: Path, options: tuple[object, ...], cause: str, remedy: str
    ) -> None:
        done = run("simulate", "--out", tmp_path / "out", *options)
        assert done.code == 2
        assert done.told == error(cause, remedy)
        assert not (tmp_path / "out").exists()

    def test_a_negative_seed_is_refused_in_words(self, tmp_path: Path, pretend: None) -> None:
        done = run("simulate", "--out", tmp_path / "out", "--cases", 1, "--seed", -1)
        assert done.code == 2
        assert done.told[0].startswith("Error: ")

    def test_a_folder_of_others_is_refused(self, tmp_path: Path, pretend: None) -> None:
        arguments = ("simulate", "--out", tmp_path / "out", "--cases", 1, "--spacing", 6)
        assert run(*arguments).code == 0
        done = run(*arguments, "--seed", 1)
        assert done.code == 2
        assert done.told[0] == f"Error: {tmp_path / 'out'} holds patients that were simulated with other options."

    def test_out_is_needed(self) -> None:
        assert run("simulate").code == 2

    def test_a_cancel_file_that_is_there_from_the_start_stops_before_a_patient_is_made(self, tmp_path: Path) -> None:
        (tmp_path / "stop").touch()
        done = run("simulate", "--out", tmp_path / "out", "--cancel-file", tmp_path / "stop")
        assert done.code == 3
        assert done.told[-1] == "Error: Stopped on request."
        assert set(contents(tmp_path)) <= {"stop", "out/simulation.json"}
