"""Phantom patients: the same for the same seed, in the layout of BraTS, with lesions where and as bright as told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from TransferSegLib.case import CHANNELS, Case, load_case
from TransferSegLib.datasets import find_cases
from TransferSegLib.errors import InputError
from TransferSegLib.labels import GLIOMA, LESION, LabelScheme
from TransferSegLib.phantom import SPACING_MM, make_phantom, write_phantoms
from TransferSegLib.volume import read_volume

SCHEMES = {"ms": LESION, "glioma": GLIOMA}
SEEDS = range(3)

Phantom = tuple[dict[str, NDArray[np.int16]], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def phantoms() -> dict[str, list[Phantom]]:
    made: dict[str, list[Phantom]] = {}
    for disease, scheme in SCHEMES.items():
        made[disease] = []
        for seed in SEEDS:
            images, labels = make_phantom(disease, scheme, (seed,))
            made[disease].append((dict(zip(CHANNELS, images, strict=True)), labels))
    return made


def mean(phantom: Phantom, channel: str, mask: NDArray[np.bool_]) -> float:
    return float(phantom[0][channel][mask].mean())


def stacked(case: Case) -> NDArray[np.float32]:
    return np.stack([case.channels[channel] for channel in CHANNELS])


def white_matter(phantom: Phantom) -> NDArray[np.bool_]:
    """The brightest half of what is healthy in T1, where it is bright."""
    healthy = (phantom[1] == 0) & (phantom[0]["t1"] > 0)
    t1 = phantom[0]["t1"]
    return healthy & (t1 > np.percentile(t1[healthy], 50))


@pytest.mark.parametrize("disease", SCHEMES)
class TestEachDisease:
    def test_labels_lie_inside_the_brain(self, phantoms: dict[str, list[Phantom]], disease: str) -> None:
        for images, labels in phantoms[disease]:
            for image in images.values():
                assert (image[labels > 0] > 0).all()

    def test_every_class_is_there(self, phantoms: dict[str, list[Phantom]], disease: str) -> None:
        for _, labels in phantoms[disease]:
            assert set(np.unique(labels)) == set(range(len(SCHEMES[disease])))

    def test_the_brain_is_one_thing_in_the_middle_of_black(
        self, phantoms: dict[str, list[Phantom]], disease: str
    ) -> None:
        for images, _ in phantoms[disease]:
            brain = images["t1"] > 0
            assert all(np.array_equal(image > 0, brain) for image in images.values())
            assert 0.15 < brain.mean() < 0.5
            faces = [np.moveaxis(brain, axis, 0)[end] for axis in range(3) for end in (0, -1)]
            assert not any(face.any() for face in faces)

    def test_the_lesions_are_small_beside_the_brain(self, phantoms: dict[str, list[Phantom]], disease: str) -> None:
        most = {"ms": 0.05, "glioma": 0.15}[disease]
        for images, labels in phantoms[disease]:
            assert 0 < (labels > 0).sum() < most * (images["t1"] > 0).sum()

    def test_lesions_or_edema_are_bright_in_t2_and_flair_and_dark_in_t1(
        self, phantoms: dict[str, list[Phantom]], disease: str
    ) -> None:
        label = SCHEMES[disease].names.index({"ms": "lesion", "glioma": "edema"}[disease])
        for phantom in phantoms[disease]:
            ill, well = phantom[1] == label, white_matter(phantom)
            assert mean(phantom, "t2", ill) > 1.2 * mean(phantom, "t2", well)
            assert mean(phantom, "flair", ill) > 1.2 * mean(phantom, "flair", well)
            assert mean(phantom, "t1", ill) < 0.9 * mean(phantom, "t1", well)

    def test_a_seed_gives_the_same_phantom_and_another_one_another(
        self, phantoms: dict[str, list[Phantom]], disease: str
    ) -> None:
        images, labels = make_phantom(disease, SCHEMES[disease], (1,))
        known, other = phantoms[disease][1], phantoms[disease][2]
        assert np.array_equal(labels, known[1])
        for channel, image in zip(CHANNELS, images, strict=True):
            assert np.array_equal(image, known[0][channel])
            assert not np.array_equal(image, other[0][channel])
        assert not np.array_equal(labels, other[1])


def test_contrast_agent_shows_the_enhancing_rim_around_dark_necrosis(phantoms: dict[str, list[Phantom]]) -> None:
    necrotic, edema, enhancing = (GLIOMA.names.index(name) for name in ("necrotic", "edema", "enhancing"))
    for phantom in phantoms["glioma"]:
        labels = phantom[1]
        rim = mean(phantom, "t1c", labels == enhancing)
        assert rim > 1.05 * mean(phantom, "t1c", white_matter(phantom))
        assert rim > 1.3 * mean(phantom, "t1c", labels == edema)
        assert mean(phantom, "t1c", labels == necrotic) < 0.7 * rim
        assert mean(phantom, "t1", labels == enhancing) < 0.9 * mean(phantom, "t1", white_matter(phantom))
        centre = np.argwhere(labels == necrotic).mean(0)
        spread = [
            np.linalg.norm(np.argwhere(labels == c) - centre, axis=1).mean() for c in (necrotic, enhancing, edema)
        ]
        assert spread == sorted(spread), "necrosis within the rim within the edema"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder / "glioma", "glioma", 4, seed=3)
    write_phantoms(folder / "ms", "ms", 1, seed=3)
    return folder


class TestFiles:
    @staticmethod
    def load(folder: Path, scheme: LabelScheme, number: int = 0) -> Case:
        return load_case(find_cases(folder).cases[number], scheme=scheme)

    def test_gliomas_are_found_as_brats_with_their_grades(self, folder: Path) -> None:
        found = find_cases(folder / "glioma")
        assert (found.layout, found.scheme) == ("brats", GLIOMA)
        assert [case.name for case in found.cases] == [f"glioma-phantom-{number:03d}" for number in range(4)]
        assert [case.group for case in found.cases] == ["HGG", "HGG", "HGG", "LGG"]
        for case in found.cases:
            case.require(CHANNELS)
            assert case.label is not None

    def test_lesions_are_found_with_all_channels(self, folder: Path) -> None:
        found = find_cases(folder / "ms")
        assert [case.name for case in found.cases] == ["ms-phantom-000"]
        found.cases[0].require(CHANNELS)

    def test_a_file_holds_what_was_made_in_the_codes_of_the_scheme(self, folder: Path) -> None:
        images, labels = make_phantom("glioma", GLIOMA, (3, 0))
        case = self.load(folder / "glioma", GLIOMA)
        assert case.label is not None
        assert np.array_equal(case.label, labels)
        for channel, image in zip(CHANNELS, images, strict=True):
            assert np.array_equal(case.channels[channel], image)
        label = find_cases(folder / "glioma").cases[0].label
        assert label is not None
        assert set(np.unique(read_volume(label).data)) == {0, 1, 2, 4}

    def test_the_voxels_have_the_size_told_and_the_brain_stands_around_the_origin(self, folder: Path) -> None:
        case = self.load(folder / "ms", LESION)
        assert case.grid.spacing == pytest.approx((SPACING_MM,) * 3)
        middle = case.grid.world(np.argwhere(case.channels["t1"] > 0).mean(0))
        assert np.abs(middle).max() < 3 * SPACING_MM

    def test_the_same_seed_writes_the_same_again(self, folder: Path, tmp_path: Path) -> None:
        again = self.load(write_phantoms(tmp_path, "ms", 1, seed=3), LESION)
        known = self.load(folder / "ms", LESION)
        assert np.array_equal(stacked(again), stacked(known))
        other = self.load(write_phantoms(tmp_path / "other", "ms", 1, seed=4), LESION)
        assert not np.array_equal(stacked(other), stacked(known))

    def test_an_unknown_disease_is_refused_with_the_known_ones(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            write_phantoms(tmp_path, "flu", 1)
        assert str(caught.value) == "There is no phantom of 'flu'. Choose ms or glioma."

    def test_a_folder_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(InputError, match="a file stands in the way"):
            write_phantoms(tmp_path / "file", "ms", 1)
