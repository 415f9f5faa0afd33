"""The scanner: every material as bright as its look says in every channel, where it is, and nothing outside."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from TransferSegLib.case_files import CHANNELS
from TransferSegLib.simulation.anatomy import Anatomy, brain_grid, draw_anatomy
from TransferSegLib.simulation.fields import Array
from TransferSegLib.simulation.lesions import draw_lesions
from TransferSegLib.simulation.material import LOOKS, Findings, Look, Material
from TransferSegLib.simulation.scanner import _slices, imperfect_mask, materials_of, take_images
from TransferSegLib.simulation.tumour import draw_tumour, grow_tumour

GRID = brain_grid((3, 3, 3))
SHAPE = (40, 36, 38)
CENTRE, RADIUS = np.array([19.3, 17.6, 18.2]), 9.0

Images = dict[str, NDArray[np.int16]]


@cache
def brain(seed: int = 0) -> Anatomy:
    return draw_anatomy(np.random.default_rng(seed), GRID, 0.1)


@cache
def found(disease: str, seed: int = 0) -> Findings:
    random = np.random.default_rng(seed)
    return draw_lesions(random, brain()) if disease == "ms" else grow_tumour(random, draw_tumour(random), brain())


def total(materials: list[Material]) -> Array:
    return np.asarray(np.sum([each.share for each in materials], axis=0), np.float32)


def ball(radius: float = RADIUS) -> Array:
    """A sphere in voxels, its edge blurred as partial volume does."""
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.clip(radius - np.linalg.norm(index - CENTRE, axis=-1) + 0.5, 0, 1).astype(np.float32)


def picture(look: str, seed: int, around: str = "wm", spacing: float = 1.0, background: bool = False) -> Images:
    """Images of a ball of ``look`` in a block of something else; with ``background``: 0 around a larger ball."""
    inner = ball()
    materials = [Material(around, 1 - inner), Material(look, inner)]
    mask = ball(16) > 0.5 if background else np.ones(SHAPE, bool)
    return dict(take_images(np.random.default_rng(seed), materials, mask, spacing))


def contrast(look: str, channel: str, seed: int, around: str = "wm") -> float:
    """Brightness deep in the ball, as a share of that far from it."""
    image = picture(look, seed, around)[channel].astype(float)
    far = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - CENTRE, axis=-1)
    return float(image[far < 4].mean() / image[(far > 13) & (far < 17)].mean())


class TestLooks:
    """What the ranges say, whatever is drawn from them."""

    LESIONS = ("lesion", "black hole", "enhancing lesion", "edema", "solid tumour", "enhancing tumour")

    @pytest.mark.parametrize("name", LESIONS)
    def test_lesions_are_brighter_than_any_white_matter_in_t2_and_flair(self, name: str) -> None:
        assert min(LOOKS[name].t2) > 1.2
        assert min(LOOKS[name].flair) > 1.1
        assert max(LOOKS[name].t1) <= 1

    def test_fluid_is_dark_in_t1_and_flair_and_bright_in_t2(self) -> None:
        assert max(LOOKS["csf"].t1) < min(LOOKS["gm"].t1) < max(LOOKS["gm"].t1) < min(LOOKS["wm"].t1)
        assert max(LOOKS["csf"].flair) < min(LOOKS["wm"].flair)
        assert min(LOOKS["csf"].t2) > max(LOOKS["gm"].t2)

    def test_only_vessels_and_what_enhances_take_up_contrast_agent(self) -> None:
        enhancing = ("enhancing lesion", "enhancing tumour", "vessel")
        assert min(min(LOOKS[name].uptake) for name in enhancing) >= 1.3
        others = [look for name, look in LOOKS.items() if name not in (*enhancing, "rim", "csf")]
        assert max(max(look.uptake) for look in others) < 1.2

    def test_a_black_hole_is_darker_in_t1_than_most_other_lesions(self) -> None:
        assert max(LOOKS["black hole"].t1) < np.mean(LOOKS["lesion"].t1)
        assert np.mean(LOOKS["black hole"].t1) < min(LOOKS["lesion"].t1)

    def test_brightness_is_drawn_in_the_order_of_the_channels(self) -> None:
        look = Look((0.5, 0.5), (2.0, 2.0), (3.0, 3.0), (4.0, 4.0))
        assert look.draw(np.random.default_rng(0)).tolist() == [0.5, 1.0, 3.0, 4.0]
        assert CHANNELS == ("t1", "t1c", "t2", "flair")

    @pytest.mark.parametrize("name", LOOKS)
    def test_what_is_drawn_lies_in_the_ranges_and_differs(self, name: str) -> None:
        look = LOOKS[name]
        drawn = np.array([look.draw(np.random.default_rng(seed)) for seed in range(50)])
        for column, (low, high) in zip((0, 2, 3), (look.t1, look.t2, look.flair), strict=True):
            assert low - 1e-6 <= drawn[:, column].min() <= drawn[:, column].max() <= high + 1e-6
            assert np.ptp(drawn[:, column]) >= 0.7 * (high - low)
        uptake = drawn[:, 1] / drawn[:, 0]
        assert look.uptake[0] - 1e-5 <= uptake.min() <= uptake.max() <= look.uptake[1] + 1e-5


class TestContrast:
    """What comes out of the scanner, with bias field, noise and texture."""

    @pytest.mark.parametrize("name", [name for name in LOOKS if name != "wm"])
    def test_each_material_is_as_bright_as_its_look_says(self, name: str) -> None:
        look = LOOKS[name]
        ranges = {
            "t1": look.t1,
            "t1c": (look.t1[0] * look.uptake[0], look.t1[1] * look.uptake[1]),
            "t2": look.t2,
            "flair": look.flair,
        }
        slack = 0.15 + 2 * look.texture
        for channel, (low, high) in ranges.items():
            for seed in range(3):
                assert low - slack < contrast(name, channel, seed) < high * (1 + slack), (channel, seed)

    def test_an_enhancing_rim_is_bright_in_t1c_beside_edema_and_necrosis(self) -> None:
        for seed in range(4):
            assert contrast("enhancing tumour", "t1c", seed, around="edema") > 1.1
            assert contrast("necrosis", "t1c", seed, around="enhancing tumour") < 0.95

    def test_contrast_agent_shows_only_in_t1c(self) -> None:
        plain, enhanced = (
            np.mean([[contrast(name, channel, seed) for channel in CHANNELS] for seed in range(6)], 0)
            for name in ("lesion", "enhancing lesion")
        )
        assert enhanced[1] > 1.25 * plain[1]
        np.testing.assert_allclose(enhanced[[0, 2, 3]], plain[[0, 2, 3]], rtol=0.15)


class TestImages:
    def test_there_is_one_for_each_channel_in_whole_numbers(self) -> None:
        images = picture("lesion", 0)
        assert tuple(images) == CHANNELS
        for image in images.values():
            assert image.dtype == np.int16
            assert image.shape == SHAPE

    @pytest.mark.parametrize("look", ["lesion", "csf", "vessel"])
    def test_they_are_0_outside_of_the_mask_and_never_inside(self, look: str) -> None:
        mask = ball(16) > 0.5
        for seed in range(4):
            for image in picture(look, seed, background=True).values():
                assert np.array_equal(image > 0, mask)
                assert image.min() == 0

    def test_even_what_is_black_is_not_0_inside(self) -> None:
        nothing = [Material("wm", np.zeros(SHAPE, np.float32))]
        for image in take_images(np.random.default_rng(0), nothing, np.ones(SHAPE, bool), 1.0).values():
            assert image.min() >= 1
            assert image.max() < 300

    def test_scanners_differ_in_scale(self) -> None:
        levels = [float(np.median(image)) for seed in range(6) for image in picture("lesion", seed).values()]
        assert 80 < min(levels) < 300
        assert 700 < max(levels) < 2500

    def test_the_same_seed_takes_the_same_images_and_another_one_others(self) -> None:
        first, again, other = (picture("lesion", seed) for seed in (0, 0, 1))
        for channel in CHANNELS:
            assert np.array_equal(first[channel], again[channel])
            assert not np.array_equal(first[channel], other[channel])

    def test_channels_have_noise_of_their_own(self) -> None:
        images = picture("wm", 2)
        rough = [image - ndimage.uniform_filter(image.astype(float), 3) for image in images.values()]
        table = np.corrcoef([each.ravel() for each in rough])
        assert np.abs(table - np.eye(4)).max() < 0.9


class TestWhere:
    """What is bright lies where it was put, to a fraction of a voxel, in every channel."""

    def test_a_ball_stays_in_its_place(self) -> None:
        """Each image alone may be off by the unevenness of the slices; all together are not."""
        index = np.moveaxis(np.indices(SHAPE), 0, -1)
        far = np.linalg.norm(index - CENTRE, axis=-1)
        off = []
        for seed in range(40):
            image = picture("csf", seed)["t2"].astype(float)
            weight = np.where(far < 14, np.clip(image / np.median(image[(far > 12) & (far < 17)]) - 1.25, 0, 0.2), 0)
            off.append(np.average(index.reshape(-1, 3), axis=0, weights=weight.ravel()) - CENTRE)
        assert np.abs(off).max() < 0.6
        assert np.abs(np.mean(off, 0)).max() < 0.08, "voxels"

    @staticmethod
    def moves(thickness: float, axis: int) -> NDArray[np.float64]:
        """By how much a ball is moved, voxels, wherever the first slice lies (n, 3)."""
        off = []
        for seed in range(16):
            taken = _slices(np.random.default_rng(seed), ball(), axis, thickness, 0.0)
            assert taken.shape == SHAPE
            off.append(np.subtract(ndimage.center_of_mass(taken), ndimage.center_of_mass(ball())))
        return np.array(off)

    @pytest.mark.parametrize("thickness", [2.4, 3.3, 4.4, 4.7])
    def test_thick_slices_do_not_move_what_they_show(self, thickness: float) -> None:
        for axis in range(3):
            assert np.abs(self.moves(thickness, axis).mean(0)).max() < 0.15

    @pytest.mark.parametrize("thickness", [2.0, 3.0, 5.0])
    def test_where_the_first_slice_lies_moves_nothing(self, thickness: float) -> None:
        for axis in range(3):
            assert np.abs(self.moves(thickness, axis)).max() < 0.3

    @pytest.mark.parametrize("axis", range(3))
    def test_thick_slices_blur_along_their_axis_only(self, axis: int) -> None:
        taken = _slices(np.random.default_rng(0), ball(), axis, 5.0, 0.0)

        def width(image: Array, along: int) -> float:
            profile = image.sum(tuple(other for other in range(3) if other != along))
            places = np.arange(len(profile))
            return float(np.sqrt(np.average((places - np.average(places, weights=profile)) ** 2, weights=profile)))

        for along in range(3):
            grown = width(taken, along) - width(ball(), along)
            assert grown > 0.2 if along == axis else abs(grown) < 0.15

    def test_thick_slices_keep_an_even_image_even_and_reach_the_border(self) -> None:
        even = np.ones(SHAPE, np.float32)
        for thickness in (2.0, 3.7, 11.0, 30.0):
            taken = _slices(np.random.default_rng(0), even, 1, thickness, 0.0)
            np.testing.assert_allclose(taken, 1, atol=1e-5)


class TestMaterials:
    @pytest.mark.parametrize("disease", ["ms", "glioma"])
    def test_shares_are_never_negative_and_add_up_to_1(self, disease: str) -> None:
        for seed in range(3):
            materials = materials_of(np.random.default_rng(seed), brain(), found(disease, seed))
            assert min(float(each.share.min()) for each in materials) >= 0
            np.testing.assert_allclose(total(materials), 1, atol=1e-4)

    @pytest.mark.parametrize("disease", ["ms", "glioma"])
    def test_inside_of_the_brain_they_add_up_to_1_nearly_everywhere(self, disease: str) -> None:
        for seed in range(3):
            materials = materials_of(np.random.default_rng(seed), brain(), found(disease, seed))
            off = np.abs(total(materials)[brain().brain] - 1)
            assert (off < 1e-4).mean() > 0.999

    def test_disease_takes_the_place_of_healthy_tissue(self) -> None:
        findings = found("glioma")
        materials = materials_of(np.random.default_rng(0), brain(), findings)
        ill = total(list(findings.materials)) > 0.99
        for each in materials[:3]:
            assert each.look in ("csf", "gm", "wm")
            assert each.share[ill].max() < 0.02
        assert [each.look for each in materials[3:6]] == [each.look for each in findings.materials]

    def test_vessels_and_the_rim_stay_out_of_deep_tissue_and_ventricles(self) -> None:
        materials = {each.look: each.share for each in materials_of(np.random.default_rng(0), brain(), found("ms"))}
        assert not materials["rim"][brain().inside > 0.5].any()
        assert materials["rim"][brain().inside < 0.3].mean() > 0.95
        assert materials["vessel"][brain().ventricles > 0.1].max() == 0
        deep = (brain().wm > 0.9) & (brain().inside > 0.99)
        assert materials["vessel"][deep].max() < 0.35
        assert materials["vessel"].max() > 0.1


class TestMask:
    @pytest.mark.parametrize("seed", range(5))
    def test_it_is_one_thing_without_holes_and_nearly_the_brain(self, seed: int) -> None:
        mask = imperfect_mask(np.random.default_rng(seed), brain())
        true = brain().brain
        assert mask.dtype == bool
        assert ndimage.label(mask)[1] == 1
        assert np.array_equal(ndimage.binary_fill_holes(mask), mask)
        assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.92
        assert not any(np.moveaxis(mask, axis, 0)[end].any() for axis in range(3) for end in (0, -1))

    def test_it_errs_to_both_sides(self) -> None:
        masks = [imperfect_mask(np.random.default_rng(seed), brain()) for seed in range(5)]
        too_much, too_little = (
            [float(each.sum()) / brain().brain.sum() for each in wrong]
            for wrong in ([mask & ~brain().brain for mask in masks], [brain().brain & ~mask for mask in masks])
        )
        assert max(too_much) > 0.01
        assert max(too_little) > 0.01
        assert max(*too_much, *too_little) < 0.15
