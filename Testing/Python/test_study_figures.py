"""Figures of a study: what stands in them, that they are written whole, and which patients are shown."""

import builtins
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_study import make_study, score, scores_of

from TransferSegLib.errors import DependencyError, InputError
from TransferSegLib.figures import look_of
from TransferSegLib.labels import GLIOMA
from TransferSegLib.study import figures
from TransferSegLib.study.figures import PatientRow, choose_patients, draw_patients, draw_sizes
from TransferSegLib.study.paper_points import PAPER_DICE, PAPER_SIZES
from TransferSegLib.study.statistics import summarise

pytest.importorskip("matplotlib")

SHAPE = (20, 24, 12)


@pytest.fixture
def drawn(monkeypatch):
    """The figure as it is when it is saved."""
    kept = []
    save = figures.save_figure
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: kept.append(figure) or save(figure, path))
    return kept


def row(name="p1", group="HGG", predicted=("scratch", "all"), where=(5, 15), **options):
    image = np.zeros(SHAPE, np.float32)
    image[2:18, 2:22, 1:11] = 100
    reference = np.zeros(SHAPE, np.uint8)
    reference[where[0] : where[1], 8:14, 4:8] = 2
    reference[8:10, 9:11, 4:8] = 3
    found = {strategy: np.roll(reference, 1, 0) for strategy in predicted}
    return PatientRow(name, group, image, reference, found, channel="t1c", **options)


# ----------------------------------------------------------------------------------------------------- Dice against n


def lines(axes, style="-"):
    """The points of each line by colour."""
    return {line.get_color(): line.get_xydata() for line in axes.lines if line.get_linestyle() == style}


def test_a_panel_a_region_and_a_line_a_strategy_through_the_means(tmp_path, drawn):
    scores = make_study(8, (20, 50, 100), 2)
    summaries = summarise(scores)
    path = draw_sizes(scores, summaries, ["enhancing", "core", "whole"], tmp_path / "sizes.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    panels = drawn[0].subfigs[0].axes
    assert [axes.get_title() for axes in panels] == ["enhancing", "core", "whole"]
    for axes in panels:
        assert axes.get_ylim() == (0, 1)
        assert axes.get_xscale() == "log"
        assert [label.get_text() for label in axes.get_xticklabels()] == ["20", "50", "100"]
        assert lines(axes).keys() == {look_of(name)[0] for name in ("scratch", "last-three", "decoder", "all")}
        shown = lines(axes)[look_of("all")[0]]
        expected = [one.mean for one in summaries if (one.strategy, one.region) == ("all", axes.get_title())]
        np.testing.assert_allclose(shown[:, 1], expected)
        np.testing.assert_allclose(shown[:, 0], [20, 50, 100], rtol=0.06)


def test_the_legend_names_each_strategy_and_the_baseline(tmp_path, drawn):
    scores = make_study(8, (20, 50), 1)
    draw_sizes(scores, summarise(scores), ["whole"], tmp_path / "sizes.png", PAPER_DICE)
    texts = [text.get_text() for text in drawn[0].subfigs[0].legends[0].get_texts()]
    assert texts == ["scratch (baseline)", "last-three", "decoder", "all", "Kaur et al. 2019"]


def test_the_points_of_the_paper_are_dashed_in_the_same_colours(tmp_path, drawn):
    scores = make_study(8, (20, 50), 1)
    draw_sizes(scores, summarise(scores), ["enhancing"], tmp_path / "sizes.png", PAPER_DICE)
    (axes,) = drawn[0].subfigs[0].axes
    np.testing.assert_allclose(lines(axes, "--")[look_of("all")[0]][:, 1], [0.623, 0.642, 0.623, 0.664])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["20", "50", "100", "150"]


def test_a_region_that_the_paper_lacks_has_no_dashed_line(tmp_path, drawn):
    scores = make_study(8, (4, 8), 1, regions={"lesion": 0})
    draw_sizes(scores, summarise(scores), ["lesion"], tmp_path / "sizes.png", PAPER_DICE)
    assert not lines(drawn[0].subfigs[0].axes[0], "--")
    assert len(drawn[0].subfigs[0].legends[0].get_texts()) == 4


def test_each_seed_is_a_dot_where_there_are_several(tmp_path, drawn):
    for seeds, dots in ((1, 0), (3, 3)):
        scores = make_study(8, (20,), seeds, {"all": (0.8, 1.0)}, regions={"whole": 0})
        draw_sizes(scores, summarise(scores), ["whole"], tmp_path / "sizes.png")
        (axes,) = drawn[-1].subfigs[0].axes
        assert sum(len(one) for one in lines(axes, "None").values()) == dots
        assert ("seeds" in drawn[-1].get_suptitle()) == (seeds > 1)


@pytest.mark.parametrize("scores", [scores_of([0.5]), scores_of([0.5, 0.7], strategy="own way")])
def test_a_study_of_one_run_is_drawn_too(tmp_path, scores):
    assert draw_sizes(scores, summarise(scores), ["whole"], tmp_path / "sizes.png").stat().st_size > 1000


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(InputError, match="no scores"):
        draw_sizes([], [], [], tmp_path / "sizes.png")
    with pytest.raises(InputError, match="no patients"):
        draw_patients([], GLIOMA, tmp_path / "patients.png")


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    scores = scores_of([0.5])
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DependencyError, match="pip install"):
        draw_sizes(scores, summarise(scores), ["whole"], tmp_path / "sizes.png")
    with pytest.raises(DependencyError, match="pip install"):
        draw_patients([row()], GLIOMA, tmp_path / "patients.png")


def test_the_points_of_the_paper_give_its_two_percentages():
    assert all(len(dice) == len(PAPER_SIZES) for region in PAPER_DICE.values() for dice in region.values())
    for region, percent in (("enhancing", 204.09), ("core", 25.9)):
        base, tuned = PAPER_DICE[region]["scratch"][0], PAPER_DICE[region]["all"][0]
        assert 100 * (tuned - base) / base == pytest.approx(percent, abs=0.3)


# ------------------------------------------------------------------------------------------------------------ patients


def colours(axes):
    """RGB of everything that lies over the image, rounded."""
    return {tuple(pixel[:3].round(2).tolist()) for pixel in axes.images[1].get_array().reshape(-1, 4) if pixel[3] > 0}


def test_a_row_a_patient_and_columns_for_image_reference_and_strategies(tmp_path, drawn):
    rows = [row("p1", "HGG"), row("p2", "LGG")]
    assert draw_patients(rows, GLIOMA, tmp_path / "patients.png").read_bytes().startswith(b"\x89PNG")
    above, below = drawn[0].subfigs
    assert [axes.get_title() for axes in above.axes] == ["t1c", "reference", "scratch (baseline)", "all"]
    assert [axes.get_title() for axes in below.axes] == [""] * 4
    assert [len(axes.images) for axes in above.axes] == [1, 2, 2, 2]
    assert below.get_supylabel() == "p2\nLGG"


def test_edema_is_green_and_enhancing_yellow(tmp_path, drawn):
    draw_patients([row()], GLIOMA, tmp_path / "patients.png")
    green, yellow = ((80, 174, 128), (246, 217, 38))
    expected = {tuple((np.array(color) / 255).round(2).tolist()) for color in (green, yellow)}
    assert colours(drawn[0].subfigs[0].axes[1]) == expected


def test_the_slice_with_most_of_the_reference_is_shown(tmp_path, drawn):
    one = row()
    one.reference[2:18, 3:20, 9] = 1  # the largest slice
    draw_patients([one], GLIOMA, tmp_path / "patients.png")
    red = tuple((np.array((216, 60, 60)) / 255).round(2).tolist())
    assert colours(drawn[0].subfigs[0].axes[1]) == {red}


def test_an_empty_reference_shows_where_something_was_found(tmp_path, drawn):
    one = row()
    one.reference[:] = 0
    draw_patients([one], GLIOMA, tmp_path / "patients.png")
    assert len(colours(drawn[0].subfigs[0].axes[3])) == 2


def test_nothing_anywhere_is_drawn_too(tmp_path):
    empty = np.zeros(SHAPE, np.uint8)
    one = PatientRow("p", "", empty.astype(np.float32), empty, {"all": empty})
    assert draw_patients([one], GLIOMA, tmp_path / "patients.png").exists()


def test_labels_far_outside_do_not_give_a_panel_another_scale(tmp_path, drawn):
    one = row()
    pads = ((10, 10), (10, 10), (0, 0))
    wide = {name: np.pad(found, pads) for name, found in one.predicted.items()}
    wide["all"][0, 0, 0] = wide["all"][35, 40, 0] = 1
    padded = replace(one, image=np.pad(one.image, pads), reference=np.pad(one.reference, pads), predicted=wide)
    draw_patients([padded], GLIOMA, tmp_path / "patients.png")
    (shape,) = {axes.images[0].get_array().shape for axes in drawn[0].subfigs[0].axes}
    assert shape == (41, 36)


def test_a_strategy_that_failed_on_a_patient_leaves_its_place_empty(tmp_path, drawn):
    draw_patients([row("p1"), row("p2", predicted=("all",))], GLIOMA, tmp_path / "patients.png")
    assert [len(axes.images) for axes in drawn[0].subfigs[1].axes] == [1, 2, 0, 2]


def test_the_dice_stands_below_each_panel_in_the_order_of_the_scheme(tmp_path, drawn):
    one = row(dice={"all": {"enhancing": 0.5, "whole": 0.912, "edema": 0.1}})
    draw_patients([one], GLIOMA, tmp_path / "patients.png")
    assert "0.91 / 0.50" in [text.get_text() for text in drawn[0].subfigs[0].axes[3].texts]
    assert "whole / enhancing" in drawn[0].get_suptitle()


def test_arrays_on_another_grid_are_refused(tmp_path):
    one = row()
    one.predicted["all"] = np.zeros((3, 3, 3), np.uint8)
    with pytest.raises(InputError, match="'all' of p1"):
        draw_patients([one], GLIOMA, tmp_path / "patients.png")


# ----------------------------------------------------------------------------------------------- the choice of patients


def graded(values, group):
    return [score(f"{group}{index}", value, group=group) for index, value in enumerate(values)]


def test_patients_are_spread_over_groups_and_quality():
    scores = graded([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], "HGG") + graded([0.6, 0.4, 0.2, 0.0], "LGG")
    chosen = choose_patients(scores, 20)
    # At a quarter and at three quarters of each group, from the best on: neither the best nor the worst.
    assert [one.patient for one in chosen] == ["HGG2", "HGG6", "LGG1", "LGG3"]
    assert [one.group for one in chosen] == ["HGG", "HGG", "LGG", "LGG"]


def test_a_small_group_leaves_its_places_to_the_other():
    scores = graded([0.9, 0.8, 0.7, 0.6], "HGG") + graded([0.6], "LGG")
    assert [one.group for one in choose_patients(scores, 20)] == ["HGG", "HGG", "HGG", "LGG"]


def test_one_place_goes_to_the_middle():
    assert choose_patients(graded([0.9, 0.8, 0.7, 0.1, 0.0], "HGG"), 20, 1)[0].patient == "HGG2"


def test_only_patients_that_every_strategy_was_tested_on_are_shown():
    scores = scores_of([0.5, 0.6, 0.7]) + scores_of([0.5, 0.6], strategy="scratch")
    assert {one.patient for one in choose_patients(scores, 20)} == {"p00", "p01"}


def test_the_first_visit_stands_for_the_patient():
    scores = [score("b", 0.5, patient="p"), score("a", 0.5, patient="p")]
    assert choose_patients(scores, 20) == [("p", "a", "HGG")]


def test_no_scores_of_that_size_give_no_patients():
    assert choose_patients(scores_of([0.5], n=50), 20) == []


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["HGG", "LGG", ""]), st.integers(0, 10)), max_size=25),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
def test_as_many_as_asked_each_once_whatever_the_order(patients, count, order):
    scores = [score(f"p{index}", dice / 10, group=group) for index, (group, dice) in enumerate(patients)]
    chosen = choose_patients(scores, 20, count)
    assert len({one.patient for one in chosen}) == len(chosen) == min(count, len(patients))
    if count >= 3:
        assert {one.group for one in chosen} == {group for group, _ in patients}
    order.shuffle(scores)
    assert choose_patients(scores, 20, count) == chosen
