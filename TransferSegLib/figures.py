"""Figures: learning curves and overlays. Needs matplotlib, which comes with the extra ``study``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import DependencyError
from .files import atomic_path
from .labels import PALETTE, LabelScheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Percentiles of the values that become black and white, so that one bright vessel does not darken the rest.
_WINDOW = (1.0, 99.5)


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, NDArray[Any]]:
    """A figure of ``width`` x ``height`` inches and its axes (rows, columns), without a window anywhere.

    Raises
    ------
    DependencyError : matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("matplotlib is not installed.", 'Run: pip install "TransferSegLib[study]"') from error
    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write the figure as PNG or PDF; whole or not at all."""
    with atomic_path(path) as beside:
        figure.savefig(beside)
    return Path(path)


def plot_curves(axes: Axes, histories: Mapping[str, Sequence[Mapping[str, float]]], metric: str, title: str) -> None:
    """``metric`` against the epoch, a line for each run."""
    for index, (name, history) in enumerate(histories.items()):
        epochs = [row["epoch"] for row in history]
        color = _rgb(PALETTE[(index + 4) % len(PALETTE)])
        axes.plot(epochs, [row[metric] for row in history], label=name, color=color, linewidth=1.6)
    axes.set(title=title, xlabel="epoch", ylabel=metric.replace("dice_", "Dice, ").replace("_", " "))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def plot_overlay(
    axes: Axes, image: NDArray[Any], labels: NDArray[Any] | None, scheme: LabelScheme, slice_k: int, title: str = ""
) -> None:
    """One axial slice (i, j) of ``image`` (i, j, k), in RAS, with the classes in the scheme's colours over it."""
    low, high = np.percentile(image[image != 0], _WINDOW) if (image != 0).any() else (0, 1)
    # Shown as radiologists do: the patient's right on the left, the front on top.
    axes.imshow(image[::-1, :, slice_k].T, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest")
    if labels is not None:
        colors = np.zeros((len(scheme), 4))
        for label, item in enumerate(scheme.classes):
            colors[label] = (*_rgb(item.color), 0.6 if label else 0)
        axes.imshow(colors[labels[::-1, :, slice_k].T], origin="lower", interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def add_class_legend(figure: Figure, scheme: LabelScheme) -> None:
    """What the colours mean, below all axes."""
    from matplotlib.patches import Patch

    handles = [Patch(color=_rgb(item.color), label=item.name) for item in scheme.classes[1:]]
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), frameon=False, fontsize=9)


def _rgb(color: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = color
    return red / 255, green / 255, blue / 255
