"""Multiple sclerosis: lesions of the bank lie where they belong, and those that are drawn from it lie near them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms import ball, centre_of, make_grid, points, volume_ml
from scipy import ndimage

from TransferSegLib.errors import InputError
from TransferSegLib.grid import Grid
from TransferSegLib.simulation import lesions as subject
from TransferSegLib.simulation.anatomy import Anatomy, brain_grid, draw_anatomy, load_atlas, sample
from TransferSegLib.simulation.lesions import bank_patients, draw_lesions
from TransferSegLib.simulation.material import Findings

GRID = brain_grid((3, 3, 3))
EVERYWHERE = np.ones((3, 3, 3), bool)

# A made-up bank: patient 1 has a ball in the left half, at the front; patient 2 one in the right half, at the back.
SMALL_BANK = make_grid((1, 1, 1), extent=95)
FRONT, BACK = (-30.0, 32.0, 8.0), (24.0, -36.0, -16.0)


@cache
def template_brain(grid: Grid = GRID) -> Anatomy:
    """The template itself, not deformed, and nothing in it but white matter."""
    places = np.moveaxis(points(grid), -1, 0).astype(np.float32)
    zeros, ones = np.zeros(grid.shape, np.float32), np.ones(grid.shape, np.float32)
    return Anatomy(grid, zeros, zeros, ones, ones > 0, ones, zeros, places)


@cache
def drawn(seed: int = 0) -> tuple[Anatomy, Findings]:
    random = np.random.default_rng(seed)
    anatomy = draw_anatomy(random, GRID, 0.1)
    return anatomy, draw_lesions(random, anatomy)


@pytest.fixture
def two_balls(monkeypatch: pytest.MonkeyPatch) -> Grid:
    """The small bank in place of the real one, and a grid to draw on."""
    bits = sum(
        (ball(SMALL_BANK, centre, 8.0).astype(np.int32) << bit for bit, centre in enumerate((FRONT, BACK))),
        np.zeros(SMALL_BANK.shape, np.int32),
    )
    monkeypatch.setattr(subject, "_bank", lambda: (bits, SMALL_BANK))
    return make_grid((2, 2, 2), extent=96)


def bank() -> tuple[NDArray[np.int32], Grid]:
    return subject._bank()


def lesions_of(patient: int) -> NDArray[np.bool_]:
    return np.asarray(bank()[0] >> (patient - 1) & 1 > 0)


def mirrored(place: Sequence[float]) -> tuple[float, ...]:
    return -place[0], place[1], place[2]


class TestBank:
    def test_it_has_the_lesions_of_29_patients_by_their_numbers(self) -> None:
        assert bank_patients() == tuple(number for number in range(1, 31) if number != 26)
        assert len(bank_patients()) == 29
        for patient in bank_patients():
            assert 0.2 < lesions_of(patient).sum() * bank()[1].voxel_ml < 80, patient

    def test_lesions_lie_in_the_brain_of_the_atlas_mostly_in_its_white_matter(self) -> None:
        bits, grid = bank()
        weights = np.bitwise_count(bits)[bits > 0][::5]
        places = grid.world(np.argwhere(bits > 0)[::5])

        def white(move: Sequence[float] = (0, 0, 0), turn: Sequence[int] = (1, 1, 1)) -> float:
            middle = places.mean(0) * (0, 1, 1)
            moved = ((places - middle) * turn + middle + move).T.astype(np.float32)
            return float(np.average(sample(load_atlas().grid, moved, load_atlas().wm)[0], weights=weights))

        (inside,) = sample(load_atlas().grid, places.T.astype(np.float32), load_atlas().inside)
        assert np.average(inside > 0.5, weights=weights) > 0.995
        assert white() > 0.7
        for away in ((12, 0, 0), (-12, 0, 0), (0, 12, 0), (0, -12, 0), (0, 0, -12)):
            assert white(away) < white() - 0.02, away
        assert white(turn=(1, -1, 1)) < white() - 0.05
        assert white(turn=(1, 1, -1)) < white() - 0.05

    def test_both_halves_have_about_as_many(self) -> None:
        bits, grid = bank()
        count = np.bitwise_count(bits).sum((1, 2), dtype=int)
        left = grid.world([(i, 0, 0) for i in range(len(count))])[:, 0] < 0
        assert count[left].sum() / count.sum() == pytest.approx(0.5, abs=0.05)

    def test_its_grid_is_symmetric_about_the_plane_in_the_middle_so_that_it_can_be_mirrored(self) -> None:
        corners = bank()[1].corners()[:, 0]
        assert corners.min() == -corners.max()


class TestFromAMadeUpBank:
    """A lesion of 8 mm radius, which is moved by no more than a voxel, in a brain that is not deformed."""

    @staticmethod
    def draw(grid: Grid, seed: int, without: Sequence[int] = ()) -> Findings:
        return draw_lesions(np.random.default_rng(seed), template_brain(grid), without)

    def test_it_lies_where_it_was_or_mirrored_about_the_middle(self, two_balls: Grid) -> None:
        centres = []
        for seed in range(16):
            findings = self.draw(two_balls, seed, without=[2])
            parts, count = ndimage.label(findings.labels, EVERYWHERE)
            centres += [centre_of(parts == number, two_balls) for number in range(1, count + 1)]
        sides: tuple[list[NDArray[np.float64]], ...] = ([], [])
        for centre in centres:
            sides[int(centre[0] > 0)].append(centre)
        for found, expected in zip(sides, (FRONT, mirrored(FRONT)), strict=True):
            assert len(found) >= 4
            np.testing.assert_allclose(found, np.tile(expected, (len(found), 1)), atol=6)
            np.testing.assert_allclose(np.mean(found, 0), expected, atol=2)
        # Together: neither side, nor any axis, is off by a voxel.
        np.testing.assert_allclose(np.abs(centres).mean(0), np.abs(FRONT), atol=1)

    @pytest.mark.parametrize(("growth", "radius"), [(0, 8.0), (3, 10.0)])
    def test_it_is_about_as_large_as_it_was_or_has_grown(
        self, two_balls: Grid, monkeypatch: pytest.MonkeyPatch, growth: int, radius: float
    ) -> None:
        # A ball that grows over the faces of its voxels becomes no ball: 3 steps make it 2 mm larger on average.
        monkeypatch.setattr(subject, "_GROWTH_MM", (growth,))
        monkeypatch.setattr(subject, "_GROWTH_SHARES", (1.0,))
        true = volume_ml(ball(SMALL_BANK, FRONT, radius), SMALL_BANK)
        for seed in range(8):
            labels = self.draw(two_balls, seed, without=[2]).labels
            parts, count = ndimage.label(labels, EVERYWHERE)
            for number in range(1, count + 1):
                assert 0.6 * true < volume_ml(parts == number, two_balls) < 1.6 * true

    @pytest.mark.parametrize(("left", "other"), [(FRONT, 2), (BACK, 1)])
    def test_a_patient_that_is_left_out_gives_nothing(
        self, two_balls: Grid, left: tuple[float, ...], other: int
    ) -> None:
        for seed in range(8):
            labels = self.draw(two_balls, seed, without=[other]).labels
            assert labels.any()
            near = ball(two_balls, left, 14) | ball(two_balls, mirrored(left), 14)
            assert not labels[~near].any()

    def test_all_patients_are_used_in_the_end_and_some_have_lesions_of_two(self, two_balls: Grid) -> None:
        front = ball(two_balls, FRONT, 14) | ball(two_balls, mirrored(FRONT), 14)
        seen = set()
        for seed in range(16):
            labels = self.draw(two_balls, seed).labels > 0
            seen.add((bool(labels[front].any()), bool(labels[~front].any())))
        assert seen == {(True, False), (False, True), (True, True)}

    def test_none_left_is_refused(self, two_balls: Grid) -> None:
        with pytest.raises(InputError) as caught:
            self.draw(two_balls, 0, without=[1, 2])
        assert str(caught.value) == "No patient of the lesion bank is left. Leave fewer of them out."

    def test_no_lesion_stands_in_fluid_or_outside_of_the_brain(self, two_balls: Grid) -> None:
        brain = template_brain(two_balls)
        front = points(two_balls)[..., 1] > 32
        wet = Anatomy(**{**vars(brain), "csf": front.astype(np.float32)})
        outside = Anatomy(**{**vars(brain), "brain": ~front})
        for anatomy in (wet, outside):
            labels = draw_lesions(np.random.default_rng(3), anatomy, [2]).labels
            assert labels.any()
            assert not labels[front].any()


class TestFromTheBank:
    def test_with_one_patient_left_every_lesion_lies_near_one_of_this_patient_or_its_mirror_image(self) -> None:
        """A lesion moves by 8 mm at most along each axis and turns within its box; then it is bent and grown."""
        few = min(bank_patients(), key=lambda patient: int(lesions_of(patient).sum()))
        without = [patient for patient in bank_patients() if patient != few]
        bits, grid = bank()
        reached = np.zeros(bits.shape, bool)
        for mask in (lesions_of(few), lesions_of(few)[::-1]):
            for box in ndimage.find_objects(ndimage.label(mask, EVERYWHERE)[0]):
                reached[tuple(slice(max(part.start - 13, 0), part.stop + 13) for part in box)] = True
        assert reached.sum() * grid.voxel_ml < 800, "or the test would prove little"
        places = np.moveaxis(points(GRID), -1, 0).astype(np.float32)
        near = sample(grid, places, reached.astype(np.float32), order=0)[0] > 0
        found = 0
        for seed in range(3):
            labels = draw_lesions(np.random.default_rng(seed), template_brain(), without).labels > 0
            assert not labels[~near].any()
            found += int(labels.sum())
        assert found

    @pytest.mark.parametrize("seed", range(3))
    def test_shares_are_never_negative_and_no_more_than_all(self, seed: int) -> None:
        _, findings = drawn(seed)
        assert min(float(each.share.min()) for each in findings.materials) >= 0
        assert float(np.sum([each.share for each in findings.materials], axis=0).max()) <= 1 + 1e-5

    @pytest.mark.parametrize("seed", range(3))
    def test_labels_are_where_lesions_are(self, seed: int) -> None:
        anatomy, findings = drawn(seed)
        assert findings.labels.dtype == np.uint8
        assert set(np.unique(findings.labels)) == {0, 1}
        assert findings.group == ""
        marked = findings.labels > 0
        assert not marked[~anatomy.brain].any()
        assert anatomy.csf[marked].max() < 0.6
        lesion = np.sum([each.share for each in findings.materials[:-1]], axis=0)
        assert lesion[marked].min() > 0.1
        assert lesion[marked].mean() > 0.5
        assert np.quantile(lesion[~marked & anatomy.brain], 0.95) < 0.1

    def test_haze_is_not_marked_and_lies_where_no_lesion_is(self) -> None:
        for seed in range(3):
            _, findings = drawn(seed)
            haze = findings.materials[-1].share
            lesion = np.sum([each.share for each in findings.materials[:-1]], axis=0)
            assert findings.materials[-1].look == "lesion"
            assert not haze[lesion > 0.5].any()

    def test_lesions_lie_mostly_in_white_matter_at_their_places_of_the_template(self) -> None:
        volumes, white = [], []
        for seed in range(3):
            anatomy, findings = drawn(seed)
            (wm,) = sample(load_atlas().grid, anatomy.places, load_atlas().wm)
            white.append(wm[findings.labels > 0])
            volumes.append(volume_ml(findings.labels, GRID))
        assert np.concatenate(white).mean() > 0.55
        assert 0 < min(volumes) < max(volumes) < 120

    def test_the_same_seed_gives_the_same_lesions_and_another_one_others(self) -> None:
        anatomy = drawn(0)[0]
        again, other = (draw_lesions(np.random.default_rng(seed), anatomy) for seed in (5, 6))
        twin = draw_lesions(np.random.default_rng(5), anatomy)
        assert np.array_equal(again.labels, twin.labels)
        for one, two in zip(again.materials, twin.materials, strict=True):
            assert one.look == two.look
            assert np.array_equal(one.share, two.share)
        assert not np.array_equal(again.labels, other.labels)

    def test_drawing_leaves_the_anatomy_as_it_was(self) -> None:
        anatomy = draw_anatomy(np.random.default_rng(0), GRID, 0.1)
        before = {name: np.copy(value) for name, value in vars(anatomy).items() if name != "grid"}
        draw_lesions(np.random.default_rng(0), anatomy)
        assert all(np.array_equal(getattr(anatomy, name), value) for name, value in before.items())


def test_some_lesions_are_black_holes_and_in_some_patients_some_enhance() -> None:
    random = np.random.default_rng(0)
    drawn = [subject._kinds(random, 60) for _ in range(2000)]
    active = [kinds for kinds in drawn if (kinds == 2).any()]
    assert len(active) / len(drawn) == pytest.approx(0.4, abs=0.05)
    assert np.mean([kinds == 2 for kinds in active]) == pytest.approx(0.15, abs=0.03)
    dark = [np.mean(kinds == 1) for kinds in drawn if not (kinds == 2).any()]
    assert np.mean(dark) == pytest.approx(0.4, abs=0.05)
    # Few in some patients, nearly all in others.
    assert np.mean(np.array(dark) < 0.1) > 0.1
    assert np.mean(np.array(dark) > 0.8) > 0.05
