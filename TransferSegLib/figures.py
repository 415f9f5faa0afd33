"""Figures: learning curves and overlays. Needs matplotlib, which comes with the extra ``study``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import DependencyError
from .files import atomic_path
from .labels import LabelScheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Percentiles of the values that become black and white, so that one bright vessel does not darken the rest.
_WINDOW = (1.0, 99.5)

# Colour and marker of each strategy in every figure: Okabe and Ito's colours, told apart by colour-blind people too.
_LOOKS: Mapping[str, tuple[str, str]] = {
    "scratch": ("#444444", "s"),
    "last-three": ("#e69f00", "v"),
    "decoder": ("#cc79a7", "D"),
    "all": ("#0072b2", "o"),
    "norm": ("#009e73", "P"),
}
_OTHER_LOOKS = (("#56b4e9", "X"), ("#d55e00", "^"), ("#8c6d00", "p"))


def new_figure(width: float, height: float, rows: int = 1) -> tuple[Figure, list[SubFigure]]:
    """A figure of ``width`` x ``height`` inches, without a window anywhere, and its rows, each with its own columns.

    Raises
    ------
    DependencyError : matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("matplotlib is not installed.", 'Run: pip install "TransferSegLib[study]"') from error
    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    return figure, list(figure.subfigures(rows, 1, squeeze=False)[:, 0])


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write the figure as PNG or PDF; whole or not at all."""
    with atomic_path(path) as beside:
        figure.savefig(beside)
    return Path(path)


def look_of(strategy: str) -> tuple[str, str]:
    """Colour and marker of a strategy."""
    # A stable choice for names that the library does not know.
    return _LOOKS.get(strategy) or _OTHER_LOOKS[sum(strategy.encode()) % len(_OTHER_LOOKS)]


def plot_curves(axes: Axes, histories: Mapping[str, Sequence[Mapping[str, float]]], metric: str, title: str) -> None:
    """``metric`` against the epoch, a line for each strategy."""
    for name, history in histories.items():
        epochs = [row["epoch"] for row in history]
        axes.plot(epochs, [row[metric] for row in history], label=name, color=look_of(name)[0], linewidth=1.6)
    ylabel = "Dice" if metric.startswith("dice_") else metric.replace("_", " ")
    axes.set(title=title, xlabel="epoch", ylabel=ylabel)
    plain_axes(axes)


def plot_scores(axes: Axes, scores: Mapping[str, Mapping[str, Sequence[float]]], ylabel: str, title: str) -> None:
    """A point for each case and a bar at their mean, by region; strategies side by side.

    Parameters
    ----------
    scores : strategy to region to the values of the cases.
    """
    for index, (name, regions) in enumerate(scores.items()):
        color = look_of(name)[0]
        for place, values in enumerate(regions.values()):
            x = place + 0.8 * ((index + 0.5) / len(scores) - 0.5)
            axes.plot([x] * len(values), values, "o", color=color, markersize=3.5, alpha=0.7, markeredgewidth=0)
            axes.hlines(float(np.mean(values)), x - 0.3 / len(scores), x + 0.3 / len(scores), color=color, linewidth=2)
    names = list(next(iter(scores.values())))
    axes.set(title=title, ylabel=ylabel, xticks=range(len(names)), xticklabels=names)
    plain_axes(axes)


def plot_overlay(
    axes: Axes,
    image: NDArray[Any],
    labels: NDArray[Any] | None,
    scheme: LabelScheme,
    slice_k: int,
    title: str = "",
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> None:
    """One axial slice (i, j) of ``image`` (i, j, k), in RAS, with the classes in the scheme's colours over it.

    Shown as radiologists do: the patient's right on the left, the front on top; cropped to what is not 0.
    """
    low, high = np.percentile(image[image != 0], _WINDOW) if (image != 0).any() else (0, 1)
    shown = image != 0 if labels is None else (image != 0) | (labels > 0)
    i, j = _extent(shown.any((1, 2))), _extent(shown.any((0, 2)))
    aspect = spacing[1] / spacing[0]

    def place(values: NDArray[Any]) -> NDArray[Any]:
        return values[i, j, slice_k][::-1].T

    axes.imshow(place(image), cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest", aspect=aspect)
    if labels is not None:
        colors = np.zeros((len(scheme), 4))
        for label, item in enumerate(scheme.classes):
            colors[label] = (*_rgb(item.color), 0.6 if label else 0)
        axes.imshow(colors[place(labels)], origin="lower", interpolation="nearest", aspect=aspect)
    for x, side in ((0.03, "R"), (0.97, "L")):
        axes.text(x, 0.5, side, color="white", fontsize=8, ha="center", va="center", transform=axes.transAxes)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def add_class_legend(figure: Figure | SubFigure, scheme: LabelScheme) -> None:
    """What the colours mean, below all axes."""
    from matplotlib.patches import Patch

    handles = [Patch(color=_rgb(item.color), label=item.name) for item in scheme.classes[1:]]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def plain_axes(axes: Axes) -> None:
    """A light grid, and no frame above and on the right."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _extent(shown: NDArray[np.bool_], margin: int = 2) -> slice:
    """From the first to the last True, a little wider; everything when there is none."""
    places = np.flatnonzero(shown)
    if not places.size:
        return slice(None)
    return slice(max(0, int(places[0]) - margin), int(places[-1]) + 1 + margin)


def _rgb(color: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = color
    return red / 255, green / 255, blue / 255
