"""Brain extraction by the template: on heads that are made of it, and what is told when it does not fit."""

import numpy as np
import pytest
from heads import dice, moved, template_head
from phantoms import make_grid

from TransferSegLib.errors import InputError
from TransferSegLib.events import Warning
from TransferSegLib.preprocess import template_brain as subject
from TransferSegLib.preprocess.registration import Registration
from TransferSegLib.preprocess.template import load_template
from TransferSegLib.preprocess.template_brain import carried_brain, refined, template_brain
from TransferSegLib.volume import Volume

THICK = make_grid((1.2, 1.2, 4.0), "LPS", turn=(4, -3, 5), extent=225, centre=(5, 0, 20))
TRUE = moved((8, -6, 15), (-12, 4, 6), (0.95, 0.9, 0.88))


def found(matrix, similarity=0.4):
    return lambda *args, **kwargs: Registration(matrix, similarity, 0.1, 1.0, np.zeros(3))


@pytest.fixture(scope="module")
def head():
    return template_head(THICK, TRUE)


def test_the_brain_is_found_in_thick_oblique_slices(head):
    image, brain = head
    seen = []
    mask, matrix = template_brain(image, "p1", seen.append)
    assert mask.shape == THICK.shape
    assert dice(mask, brain) > 0.96
    assert dice(carried_brain(matrix, THICK, load_template()), brain) > 0.95
    assert seen == []


def test_a_defaced_head_that_is_cut_off_at_the_top_is_good_enough(head):
    image, brain = head
    grid = THICK.window((0, 0, 0), (THICK.shape[0], THICK.shape[1], THICK.shape[2] - 15))
    ahead = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)) @ (0, 1, -0.8) > 75
    cut = slice(0, grid.shape[2])
    defaced = Volume(np.where(ahead & ~brain[:, :, cut], 0, image.data[:, :, cut]), grid)
    mask, _ = template_brain(defaced)
    assert dice(mask, brain[:, :, cut]) > 0.94


def test_the_border_moves_to_where_the_tissue_ends(head):
    image, brain = head
    near = TRUE @ moved((2, 0, 0), stretch=(1.04, 1.04, 1.04))
    before = dice(carried_brain(near, THICK, load_template()), brain)
    assert dice(refined(image, near, load_template()), brain) > before + 0.015


def test_a_head_that_is_hardly_like_the_template_is_told(head, monkeypatch):
    monkeypatch.setattr(subject, "head_to_template", found(TRUE, 0.12))
    seen = []
    template_brain(head[0], "p1", seen.append)
    text = "The head is hardly like the template (0.12 nats, 0.2 expected at least): look whether the brain was found."
    assert seen == [Warning(text, "p1")]


def test_a_refinement_that_takes_too_much_is_told_and_not_used(head, monkeypatch):
    monkeypatch.setattr(subject, "head_to_template", found(TRUE))
    monkeypatch.setattr(subject, "refined", lambda *args: np.zeros(THICK.shape, bool))
    seen = []
    mask, _ = template_brain(head[0], "p1", seen.append)
    assert "would have 0% of the volume it has by registration: the registration alone is trusted" in seen[0].text
    np.testing.assert_array_equal(mask, carried_brain(TRUE, THICK, load_template()))


def test_an_image_of_one_value_is_refused():
    with pytest.raises(InputError, match="only one value"):
        template_brain(Volume(np.zeros(THICK.shape, np.float32), THICK))
