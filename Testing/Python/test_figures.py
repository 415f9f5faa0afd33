"""Figures: pictures are written whole, an image lies as radiologists look at it, colours mean what the legend says."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from TransferSegLib.errors import DependencyError, InputError
from TransferSegLib.figures import (
    add_class_legend,
    look_of,
    new_figure,
    plot_curves,
    plot_overlay,
    plot_scores,
    save_figure,
)
from TransferSegLib.labels import GLIOMA
from TransferSegLib.strategies import STRATEGIES

pytest.importorskip("matplotlib")

SHAPE = (20, 30, 10)


def phantom() -> NDArray[np.float32]:
    """A dark box in RAS with a white spot at the patient's right and a grey one in front."""
    image = np.zeros(SHAPE, np.float32)
    image[4:16, 4:26, 1:9] = 50
    image[13:16, 14:17, 3:6] = 250  # i grows to the right: the patient's right is the high i
    image[9:12, 23:26, 3:6] = 150  # j grows to the front
    return image


def draw(
    image: NDArray[np.float32], labels: NDArray[np.uint8] | None = None, **options: Any
) -> tuple[NDArray[np.float64], Any]:
    """What is on the paper (rows from top to bottom, columns from left to right, RGB from 0 to 1), and the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, (row,) = new_figure(4, 4)
    axes = row.subplots()
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    plot_overlay(axes, image, labels, GLIOMA, 4, **options)
    for text in axes.texts:
        text.set_visible(False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = axes.get_window_extent()  # without the paper around the picture
    rows = slice(round(figure.bbox.height - box.y1) + 1, round(figure.bbox.height - box.y0) - 1)
    return np.asarray(canvas.buffer_rgba())[rows, round(box.x0) + 1 : round(box.x1) - 1, :3] / 255, axes


def where(
    pixels: NDArray[np.float64], color: tuple[float, float, float], tolerance: float = 0.02
) -> tuple[float, float]:
    """Mean place of a colour: 0 is left and top, 1 is right and bottom."""
    found = np.argwhere(np.abs(pixels - color).max(-1) < tolerance)
    assert len(found), "there is no such colour"
    down, right = found.mean(0) / (np.array(pixels.shape[:2]) - 1)
    return float(right), float(down)


class TestOverlay:
    def test_the_patients_right_is_on_the_left(self) -> None:
        right, down = where(draw(phantom())[0], (1, 1, 1))
        assert right < 0.3
        assert 0.4 < down < 0.6

    def test_the_front_is_on_top(self) -> None:
        right, down = where(draw(phantom())[0], (0.5, 0.5, 0.5))  # halfway between 50 and 250
        assert down < 0.25
        assert 0.4 < right < 0.6

    def test_the_letters_say_which_side_is_which(self) -> None:
        _, axes = draw(phantom())
        place = {text.get_text(): text.get_position()[0] for text in axes.texts}
        assert place["R"] < 0.1
        assert place["L"] > 0.9

    def test_the_slice_shown_is_the_one_asked_for(self) -> None:
        image = phantom()
        image[:, :, 4] = np.minimum(image[:, :, 4], 50)
        pixels, _ = draw(image)
        assert not (np.abs(pixels - 1).max(-1) < 0.02).any()

    def test_labels_lie_over_the_image_in_the_colours_of_their_classes(self) -> None:
        labels = np.zeros(SHAPE, np.uint8)
        labels[5:8, 6:9, 4] = GLIOMA.names.index("edema")  # left and behind
        image = phantom()
        image[5:8, 6:9, 4] = 0
        red, green, blue = (0.6 * value / 255 for value in GLIOMA.classes[2].color)
        right, down = where(draw(image, labels)[0], (red, green, blue))
        assert right > 0.6, "the patient's left is on the right"
        assert down > 0.7, "the back is at the bottom"

    def test_where_nothing_is_labelled_the_image_stays_as_it_is(self) -> None:
        plain, _ = draw(phantom())
        labelled, _ = draw(phantom(), np.zeros(SHAPE, np.uint8))
        assert np.array_equal(plain, labelled)

    def test_it_is_cropped_to_what_is_not_black(self) -> None:
        _, axes = draw(phantom())
        assert axes.images[0].get_array().shape == (26, 16)  # 12 x 22 voxels and 2 on each side

    def test_a_label_outside_of_the_image_is_not_cropped_away(self) -> None:
        labels = np.zeros(SHAPE, np.uint8)
        labels[19, 29, 4] = 1
        _, axes = draw(phantom(), labels)
        assert axes.images[1].get_array().shape[:2] == (28, 18)
        assert axes.images[0].get_array().shape == (28, 18)

    def test_voxels_that_are_not_square_keep_their_shape(self) -> None:
        _, axes = draw(phantom(), spacing=(1.0, 3.0, 1.0))
        assert axes.get_aspect() == 3

    def test_one_bright_voxel_does_not_darken_the_rest(self) -> None:
        image = np.zeros((40, 40, 8), np.float32)
        image[5:35, 5:35, 1:7] = np.linspace(50, 100, 30)[:, None, None]
        image[20, 20, 4] = 1e6
        pixels, _ = draw(image)
        assert np.median(pixels[pixels > 0]) > 0.3

    def test_an_empty_image_is_black(self) -> None:
        pixels, axes = draw(np.zeros(SHAPE, np.float32))
        assert pixels.max() == 0
        assert axes.images[0].get_array().shape == (30, 20)


HISTORY = [{"epoch": epoch, "loss": 1 / epoch, "dice_whole": 1 - 1 / epoch} for epoch in (1, 2, 3)]


def test_each_strategy_has_its_own_colour_and_marker() -> None:
    assert len({look_of(name)[0] for name in STRATEGIES}) == len({look_of(name)[1] for name in STRATEGIES}) == 5
    assert look_of("own way") == look_of("own way")


class TestCurves:
    @staticmethod
    def axes(metric: str = "dice_whole") -> Any:
        _, (row,) = new_figure(4, 3)
        axes = row.subplots()
        plot_curves(axes, {"scratch": HISTORY, "all": HISTORY[:2]}, metric, "whole")
        return axes

    def test_each_run_is_a_line_over_its_epochs(self) -> None:
        first, second = self.axes().lines
        assert list(first.get_xdata()) == [1, 2, 3]
        assert list(first.get_ydata()) == [row["dice_whole"] for row in HISTORY]
        assert list(second.get_xdata()) == [1, 2]
        assert [first.get_label(), second.get_label()] == ["scratch", "all"]
        assert [first.get_color(), second.get_color()] == [look_of("scratch")[0], look_of("all")[0]]

    @pytest.mark.parametrize(
        ("metric", "label"), [("dice_whole", "Dice"), ("loss", "loss"), ("learning_rate", "learning rate")]
    )
    def test_the_axes_say_what_they_show(self, metric: str, label: str) -> None:
        history = [{**row, "learning_rate": 0.1} for row in HISTORY]
        _, (row,) = new_figure(4, 3)
        axes = row.subplots()
        plot_curves(axes, {"all": history}, metric, "the title")
        assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("epoch", label, "the title")


class TestScores:
    SCORES: Mapping[str, Mapping[str, list[float]]] = {
        "scratch": {"whole": [0.2, 0.4], "core": [0.1]},
        "all": {"whole": [0.8, 0.6], "core": [0.5]},
    }

    def axes(self) -> Any:
        _, (row,) = new_figure(4, 3)
        axes = row.subplots()
        plot_scores(axes, self.SCORES, "Dice", "held-out")
        return axes

    def test_each_case_is_a_point_and_their_mean_a_bar(self) -> None:
        axes = self.axes()
        assert [list(line.get_ydata()) for line in axes.lines] == [[0.2, 0.4], [0.1], [0.8, 0.6], [0.5]]
        bars = [bar.get_segments()[0][0][1] for bar in axes.collections]
        assert bars == pytest.approx([0.3, 0.1, 0.7, 0.5])

    def test_runs_stand_side_by_side_at_their_region(self) -> None:
        axes = self.axes()
        places = [line.get_xdata()[0] for line in axes.lines]
        assert np.round(places).tolist() == [0, 1, 0, 1]
        assert places[0] < places[2]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["whole", "core"]

    def test_a_run_has_the_colour_of_its_curve(self) -> None:
        curves = [line.get_color() for line in TestCurves.axes().lines]
        points = [line.get_color() for line in self.axes().lines]
        assert points == [curves[0], curves[0], curves[1], curves[1]]


class TestFiles:
    @pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")])
    def test_a_picture_is_written(self, tmp_path: Path, name: str, magic: bytes) -> None:
        figure, (above, below) = new_figure(5, 4, rows=2)
        above.subplots(1, 3)
        plot_overlay(below.subplots(), phantom(), None, GLIOMA, 4, "title")
        add_class_legend(below, GLIOMA)
        path = save_figure(figure, tmp_path / "new folder" / name)
        assert path.read_bytes().startswith(magic)
        assert [item.name for item in path.parent.iterdir()] == [name]

    def test_a_picture_that_cannot_be_written_is_refused_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(InputError, match="a file stands in the way"):
            save_figure(new_figure(2, 2)[0], tmp_path / "file" / "a.png")

    def test_the_legend_names_each_class_but_the_background(self) -> None:
        _, (row,) = new_figure(4, 3)
        add_class_legend(row, GLIOMA)
        legend = row.legends[0]
        assert [text.get_text() for text in legend.get_texts()] == list(GLIOMA.names[1:])
        colors = [np.round(np.array(patch.get_facecolor()[:3]) * 255).tolist() for patch in legend.get_patches()]
        assert colors == [list(item.color) for item in GLIOMA.classes[1:]]


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fake(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named '{name}'")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(DependencyError) as caught:
        new_figure(2, 2)
    assert caught.value.cause == "matplotlib is not installed."
    assert caught.value.remedy == 'Run: pip install "TransferSegLib[study]"'
