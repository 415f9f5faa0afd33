"""Glioma: what it pushes aside is never folded, edema surrounds the core, and low grades hardly enhance."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms import centre_of, points, volume_ml
from scipy import ndimage

from TransferSegLib.labels import GLIOMA
from TransferSegLib.simulation.anatomy import Anatomy, brain_grid, draw_anatomy, load_atlas, sample
from TransferSegLib.simulation.fields import Array
from TransferSegLib.simulation.material import Findings
from TransferSegLib.simulation.tumour import EDEMA, ENHANCING, NECROTIC, Tumour, draw_tumour, grow_tumour

GRID = brain_grid((3, 3, 3))
# In the white matter of the left half, at the front, away from the middle of any axis.
CENTRE = np.array([-28.0, 8.0, 26.0], np.float32)
SEEDS = range(6)


def tumour(radius: float = 16.0, push: float = 0.3, low_grade: bool = False) -> Tumour:
    radii = np.array([radius, 0.9 * radius, 1.1 * radius], np.float32)
    return Tumour(CENTRE, radii, push, low_grade)


@cache
def brain() -> Anatomy:
    return draw_anatomy(np.random.default_rng(0), GRID, 0.1, tumour().warp)


@cache
def grown(seed: int = 0, low_grade: bool = False) -> Findings:
    return grow_tumour(np.random.default_rng(seed), tumour(low_grade=low_grade), brain())


@cache
def draws() -> tuple[Tumour, ...]:
    return tuple(draw_tumour(np.random.default_rng(seed)) for seed in range(10))


def core(findings: Findings) -> NDArray[np.bool_]:
    return np.asarray(np.isin(findings.labels, (NECROTIC, ENHANCING)))


def around(mask: NDArray[np.bool_], voxels: int) -> NDArray[np.bool_]:
    """A shell of this thickness."""
    return np.asarray(ndimage.binary_dilation(mask, iterations=voxels) & ~mask)


def world(step: float, reach: float) -> Array:
    """Places (3, i, j, k) around the tumour."""
    axis = np.arange(-reach, reach + step / 2, step, dtype=np.float32)
    return np.stack(np.meshgrid(*(axis + middle for middle in CENTRE), indexing="ij"))


def test_its_numbers_are_those_of_the_scheme() -> None:
    assert [GLIOMA.names[label] for label in (NECROTIC, EDEMA, ENHANCING)] == ["necrotic", "edema", "enhancing"]
    assert GLIOMA.decode(np.array([NECROTIC, EDEMA, ENHANCING])).tolist() == [1, 2, 4]


class TestPushing:
    @pytest.mark.parametrize("push", [0.05, 0.5])
    def test_nothing_moves_far_away_and_in_the_very_middle(self, push: float) -> None:
        warp = tumour(push=push).warp
        far = CENTRE[:, None, None, None] + np.array([60.0, -60, 70], np.float32)[:, None, None, None]
        np.testing.assert_allclose(warp(far), far, atol=1e-3)
        middle = CENTRE[:, None, None, None]
        np.testing.assert_allclose(warp(middle), middle, atol=1e-6)

    def test_what_is_seen_near_the_core_was_nearer_to_its_middle_before(self) -> None:
        places = world(4, 24)
        before = tumour(push=0.4).warp(places)
        now, then = (np.linalg.norm(each - CENTRE[:, None, None, None], axis=0) for each in (places, before))
        assert (then <= now + 1e-4).all()
        near = (now > 8) & (now < 20)
        assert (now - then)[near].mean() > 2
        direction = ((before - CENTRE[:, None, None, None]) * (places - CENTRE[:, None, None, None])).sum(0)
        np.testing.assert_allclose(direction[near], (now * then)[near], rtol=1e-3)

    @pytest.mark.parametrize("radius", [10.0, 28.0])
    def test_space_is_never_folded_even_by_the_strongest_push(self, radius: float) -> None:
        radii = np.array([0.75, 1.0, 1.3], np.float32) * radius
        places = Tumour(CENTRE, radii, 0.5, False).warp(world(2, 50))
        slopes = np.array([np.gradient(place, 2.0) for place in places])
        stretch = np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1)))
        assert stretch.min() > 0.1
        assert stretch.max() < 1.6
        for axis in range(3):
            assert (np.diff(places[axis], axis=axis) > 0).all(), "what lies further on came from further on"

    def test_the_given_places_are_left_as_they_are(self) -> None:
        places = world(8, 24)
        kept = places.copy()
        tumour().warp(places)
        assert np.array_equal(places, kept)


class TestDrawing:
    def test_it_stands_in_or_near_white_matter_above_the_cerebellum(self) -> None:
        centres = np.array([each.centre for each in draws()]).T
        depth, inside = sample(load_atlas().grid, centres.astype(np.float32), load_atlas().depth, load_atlas().inside)
        assert depth.mean() < 4, "mm from white matter"
        assert inside.min() > 0.4
        assert centres[2].min() > -18 - 13

    def test_it_stands_in_either_half_and_is_of_either_grade(self) -> None:
        assert 2 <= sum(each.centre[0] < 0 for each in draws()) <= 8
        assert 1 <= sum(each.low_grade for each in draws()) <= 6

    def test_its_size_and_push_vary_within_bounds(self) -> None:
        radii = np.array([each.radii for each in draws()])
        assert radii.min() >= 7.5
        assert radii.max() <= 36.4
        assert radii.mean(1).max() > 1.5 * radii.mean(1).min()
        assert all(0.05 <= each.push <= 0.5 for each in draws())

    def test_the_same_seed_draws_the_same_tumour_and_the_atlas_stays_as_it_was(self) -> None:
        before = load_atlas().wm.copy()
        again = draw_tumour(np.random.default_rng(3))
        assert np.array_equal(again.centre, draws()[3].centre)
        assert np.array_equal(again.radii, draws()[3].radii)
        assert (again.push, again.low_grade) == (draws()[3].push, draws()[3].low_grade)
        assert not np.array_equal(again.centre, draws()[4].centre)
        assert np.array_equal(load_atlas().wm, before)


class TestHighGrade:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_it_has_every_class_inside_the_brain(self, seed: int) -> None:
        findings = grown(seed)
        assert findings.group == "HGG"
        assert findings.labels.dtype == np.uint8
        assert set(np.unique(findings.labels)) == {0, NECROTIC, EDEMA, ENHANCING}
        assert not findings.labels[~brain().brain].any()

    @pytest.mark.parametrize("seed", SEEDS)
    def test_it_grows_where_it_was_told_to_and_left_stays_left(self, seed: int) -> None:
        np.testing.assert_allclose(centre_of(core(grown(seed)), GRID), CENTRE, atol=5)
        assert centre_of(grown(seed).labels > 0, GRID)[0] < -15

    def test_the_core_is_as_large_as_its_radii_tell(self) -> None:
        wanted = 4 / 3 * np.pi * float(np.prod(tumour().radii)) / 1000
        volumes = [volume_ml(core(grown(seed)), GRID) for seed in SEEDS]
        assert np.mean(volumes) == pytest.approx(wanted, rel=0.2)

    def test_the_rim_is_around_the_necrosis_and_the_edema_around_both(self) -> None:
        away = np.linalg.norm(points(GRID) - CENTRE, axis=-1)
        distances = np.mean(
            [[away[grown(seed).labels == label].mean() for label in (NECROTIC, ENHANCING, EDEMA)] for seed in SEEDS], 0
        )
        assert distances[0] + 2 < distances[1] < distances[2] - 2

    def test_what_touches_the_core_is_edema_where_fluid_can_spread(self) -> None:
        shares = []
        for seed in SEEDS:
            shell = around(core(grown(seed)), 1) & (brain().wm > 0.6)
            shares.append((grown(seed).labels[shell] == EDEMA).mean())
        assert min(shares) > 0.5
        assert np.mean(shares) > 0.8

    def test_edema_follows_white_matter_and_touches_the_core(self) -> None:
        for seed in SEEDS:
            edema = grown(seed).labels == EDEMA
            near = around(core(grown(seed)), 5) & brain().brain
            assert brain().wm[edema].mean() > brain().wm[near & ~edema].mean() + 0.1
            parts, _ = ndimage.label(edema | core(grown(seed)), np.ones((3, 3, 3)))
            main = parts == np.bincount(parts[core(grown(seed))]).argmax()
            assert (edema & main).sum() > 0.9 * edema.sum()


class TestLowGrade:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_it_is_told_apart_and_hardly_enhances(self, seed: int) -> None:
        findings = grown(seed, low_grade=True)
        assert findings.group == "LGG"
        enhancing = (findings.labels == ENHANCING).sum()
        assert enhancing <= 0.085 * core(findings).sum()
        assert (findings.labels == NECROTIC).sum() > 0.9 * core(findings).sum() > 0
        assert not findings.labels[~brain().brain].any()

    def test_its_core_is_solid(self) -> None:
        looks = [each.look for each in grown(0, low_grade=True).materials]
        assert "solid tumour" in looks
        assert "necrosis" not in looks
        assert "necrosis" in [each.look for each in grown(0).materials]


@pytest.mark.parametrize("low_grade", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
class TestMaterials:
    def test_shares_are_never_negative_and_no_more_than_all(self, seed: int, low_grade: bool) -> None:
        findings = grown(seed, low_grade)
        assert min(float(each.share.min()) for each in findings.materials) >= 0
        assert float(np.sum([each.share for each in findings.materials], axis=0).max()) <= 1 + 1e-5

    def test_each_material_is_where_its_label_is(self, seed: int, low_grade: bool) -> None:
        findings = grown(seed, low_grade)
        labels = {"edema": EDEMA, "necrosis": NECROTIC, "solid tumour": NECROTIC, "enhancing tumour": ENHANCING}
        for each in findings.materials:
            inside = findings.labels == labels[each.look]
            if inside.sum() < 20:
                continue
            assert each.share[inside].mean() > 0.5, each.look
            far = ~ndimage.binary_dilation(inside, iterations=3)
            assert each.share[far].max() < 0.02, each.look


def test_the_same_seed_grows_the_same_tumour_and_another_one_another() -> None:
    again = grow_tumour(np.random.default_rng(0), tumour(), brain())
    assert np.array_equal(again.labels, grown(0).labels)
    for one, two in zip(again.materials, grown(0).materials, strict=True):
        assert np.array_equal(one.share, two.share)
    assert not np.array_equal(grown(1).labels, grown(0).labels)


def test_its_surroundings_are_really_pushed_aside() -> None:
    """What was 12 mm from the middle of the tumour is now further away; what was far stays where it was."""
    pushed = brain().places
    still = draw_anatomy(np.random.default_rng(0), GRID, 0.1).places
    moved = np.linalg.norm(pushed - still, axis=0)
    away = np.linalg.norm(points(GRID) - CENTRE, axis=-1)
    assert moved[(away > 10) & (away < 20)].mean() > 2
    assert moved[away > 75].max() < 0.1
