"""The template, and where it lies in an image: known maps are found again, and what cannot be right is told."""

from importlib.resources import files

import numpy as np
import pytest
from heads import moved, template_head
from phantoms import make_grid

from TransferSegLib.errors import InputError
from TransferSegLib.events import Warning
from TransferSegLib.preprocess import to_template
from TransferSegLib.preprocess.registration import Registration
from TransferSegLib.preprocess.step import record, restore
from TransferSegLib.preprocess.template import load_template
from TransferSegLib.preprocess.to_template import ToTemplate, brain_boxes, brain_dice

THICK = make_grid((1.2, 1.2, 4.0), "LPS", turn=(4, -3, 5), extent=215, centre=(10, 5, 20))
TRUE = moved((8, -6, 15), (-12, 4, 6), (0.95, 0.9, 0.88), 0.03)


@pytest.fixture(scope="module")
def brain():
    return template_head(THICK, TRUE, turned=True, skull=False)


def error_mm(found, true=TRUE):
    grid, data = load_template().brain.grid, load_template().brain.data
    inside = grid.world(np.argwhere(data)[::1000])
    return np.linalg.norm((np.column_stack((inside, np.ones(len(inside)))) @ (found - true).T)[:, :3], axis=1).mean()


def applied(image, mask=None, step=None, start=None):
    seen = []
    return (step or ToTemplate()).apply(image, mask, "p1", seen.append, start), seen


def found(matrix):
    return lambda *args, **kwargs: Registration(matrix, 1.0, 0.5, 1.0, np.array([0.0, -20, 8]))


class TestTemplate:
    def test_it_lies_in_mni_space(self):
        template = load_template()
        assert template.brain.grid.shape == (197, 233, 189)
        assert template.t1.grid.spacing == (2, 2, 2)
        assert template.brain.grid.overlap(template.t1.grid) > 0.98
        assert template.brain.data.sum() * template.brain.grid.voxel_ml == pytest.approx(1886.5, abs=0.1)
        # The anterior commissure is the origin; the white matter of the corpus callosum is brighter than a ventricle.
        callosum, ventricle = (
            template.t1.data[tuple(np.rint(template.t1.grid.index(place)).astype(int))]
            for place in ((0, 24, 6), (6, 12, 12))
        )
        assert callosum > 1.5 * ventricle

    def test_it_is_read_once_and_cannot_be_changed(self):
        assert load_template() is load_template()
        with pytest.raises(ValueError, match="read-only"):
            load_template().t1.data[0, 0, 0] = 1

    def test_its_origin_and_terms_are_told(self):
        folder = files("TransferSegLib") / "templates"
        notice = (folder / "NOTICE.txt").read_text(encoding="utf-8")
        for part in ("McConnell Brain Imaging Centre", "10.1016/j.neuroimage.2010.07.033", "icbm152_brain.nii.gz"):
            assert part in notice
        kept = [item for item in folder.iterdir() if item.name.endswith(".gz")]
        assert all(item.name in notice for item in kept)
        assert sum(len(item.read_bytes()) for item in kept) < 1_600_000


class TestBrains:
    def test_an_affine_map_is_found_in_thick_oblique_slices_of_another_contrast(self, brain):
        matrix, seen = applied(*brain)
        assert error_mm(matrix) < 0.6
        assert brain_dice(matrix, THICK, brain[1], load_template()) > 0.97
        assert seen == []

    def test_what_lies_outside_of_the_mask_does_not_count(self, brain):
        image, mask = brain
        spoiled = image.with_data(np.where(mask, image.data, np.random.default_rng(0).uniform(0, 900, mask.shape)))
        np.testing.assert_array_equal(applied(spoiled, mask)[0], applied(image, mask)[0])

    def test_a_rigid_map_keeps_the_size(self):
        true = moved((8, -6, 15), (-12, 4, 6))
        matrix, seen = applied(*template_head(THICK, true, skull=False), ToTemplate(kind="rigid"))
        assert error_mm(matrix, true) < 0.6
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
        assert seen == []

    @pytest.mark.parametrize(
        ("matrix", "says"),
        [
            (moved(stretch=(1, 1, 0.5)), "the brain would be 0.50 times as long as the template, not 0.7 to 1.35"),
            (moved(stretch=(1, 1.5, 1)), "the brain would be 1.50 times as long as the template, not 0.7 to 1.35"),
            (moved((70, 0, 0)), "the brains overlap with a Dice of only 0."),
        ],
    )
    def test_a_map_that_cannot_be_right_is_told_and_the_boxes_are_laid_over_each_other(
        self, brain, monkeypatch, matrix, says
    ):
        monkeypatch.setattr(to_template, "register", found(matrix))
        result, (event,) = applied(*brain)
        assert isinstance(event, Warning)
        assert event.case == "p1"
        assert says in event.text
        assert event.text.endswith("The template is laid over the box of the brain instead.")
        np.testing.assert_array_equal(result, brain_boxes(THICK, brain[1], load_template(), "affine"))
        assert brain_dice(result, THICK, brain[1], load_template()) > 0.85

    def test_it_starts_where_it_is_told_to(self, brain, monkeypatch):
        starts = []
        monkeypatch.setattr(to_template, "register", lambda *a, **k: starts.extend(k["starts"]) or found(TRUE)())
        applied(*brain, start=TRUE)
        np.testing.assert_array_equal(starts[0], TRUE)


class TestHeads:
    def test_without_a_mask_the_whole_head_is_registered(self):
        image, mask = template_head(make_grid((2.0, 2.0, 3.0), extent=230, centre=(0, 0, 20)), TRUE)
        matrix, seen = applied(image)
        assert error_mm(matrix) < 2
        assert brain_dice(matrix, image.grid, mask, load_template()) > 0.96
        assert seen == []

    def test_a_map_that_cannot_be_right_is_told_and_the_header_is_trusted(self, brain, monkeypatch):
        monkeypatch.setattr(to_template, "head_to_template", found(moved(stretch=(1, 1, 2))))
        result, (event,) = applied(brain[0])
        assert "2.00 times as long" in event.text
        assert "its header is trusted" in event.text
        np.testing.assert_array_equal(result[:3, :3], np.eye(3))

    def test_rigid_takes_the_turn_of_the_map_and_keeps_the_middle_of_the_brain(self, brain, monkeypatch):
        turn = moved((5, 6, 7), turn=(0, 0, 20))
        stretched = turn @ np.diag([0.9, 0.9, 0.9, 1])
        monkeypatch.setattr(to_template, "head_to_template", found(stretched))
        result, _ = applied(brain[0], step=ToTemplate(kind="rigid"))
        np.testing.assert_allclose(result[:3, :3], turn[:3, :3], atol=1e-9)
        middle = np.array([0.0, -20, 8, 1])
        np.testing.assert_allclose(result @ middle, stretched @ middle, atol=1e-9)


def test_the_step_stands_in_a_card_and_refuses_what_it_does_not_know():
    assert restore({"to-template": ToTemplate}, record(ToTemplate(kind="rigid"))) == ToTemplate(kind="rigid")
    with pytest.raises(InputError, match="no template 'colin27'"):
        ToTemplate("colin27")
    with pytest.raises(InputError, match="of the kind 'warp'"):
        ToTemplate(kind="warp")
