"""Quality: a page for each prepared case, on which a person sees in five seconds whether the preparation went well."""

from __future__ import annotations

import csv
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .case import volume_on
from .figures import new_figure, save_figure
from .files import atomic_path
from .grid import Grid
from .pages import render_page
from .preprocess.pipeline import Placed, Prepared
from .preprocess.template import load_template
from .preprocess.to_template import brain_dice
from .resample import resample, resample_mask
from .volume import Volume

# Pictures are taken from a copy of the images with voxels of this size.
_PICTURE_MM = 1.5

# So many of them are shown around the brain: scalp and all.
_AROUND = 16

# What cuts an image in which direction: the axis across, and how to lay the two others on paper, in RAS.
_PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
_BRAIN_COLOR, _TEMPLATE_COLOR, _VALUES_COLOR = "#ffd000", "#00b7ff", "#0072b2"

# The template between fluid and grey matter, at the border of ventricles and furrows, as a share of its highest value.
_FURROWS = 0.45


@dataclass(frozen=True, eq=False)
class View:
    """What is shown of a case: slices through the brain's middle, and facts.

    Attributes
    ----------
    slices : channel to plane to values (rows, columns), the first row at the bottom.
    brain, template, furrows : plane to brain mask, mask of the template's brain, and values of the template, in the
        same places; the last two are empty without a registration to the template.
    before : channel to values of the brain, a sample of them, as the scanner gave them.
    facts : name to text.
    numbers : the same as numbers: ml of the brain, by how many mm a channel was moved at most, scale factors to
        the template, Dice of the brain with the template's.
    """

    name: str
    slices: Mapping[str, Mapping[str, NDArray[np.float32]]]
    brain: Mapping[str, NDArray[np.float32]]
    template: Mapping[str, NDArray[np.float32]]
    furrows: Mapping[str, NDArray[np.float32]]
    before: Mapping[str, NDArray[np.float32]]
    facts: Mapping[str, str]
    numbers: Mapping[str, float]


def view(placed: Placed, channels: Sequence[str]) -> View:
    """Collect what :func:`draw` needs, in little memory."""
    case = placed.case
    whole = case.grid.reoriented().respaced((_PICTURE_MM,) * 3)
    everywhere = np.asarray(resample(placed.brain.mask.astype(np.float32), case.grid, whole), np.float32)
    inside = np.argwhere(everywhere >= 0.5)
    low, high = (inside.min(0), inside.max(0)) if len(inside) else (np.zeros(3, int), np.array(whole.shape) - 1)
    low = np.maximum(low - _AROUND, 0)
    i, j, k = (np.minimum(high + _AROUND + 1, whole.shape) - low).tolist()
    grid = whole.window(tuple(low.tolist()), (i, j, k))
    middle = (i // 2, j // 2, k // 2)
    brain = everywhere[tuple(slice(start, start + side) for start, side in zip(low, (i, j, k), strict=True))]
    template: Mapping[str, NDArray[np.float32]] = {}
    furrows: Mapping[str, NDArray[np.float32]] = {}
    if placed.to_image is not None:
        average = load_template()
        template = _slices(_moved(average.brain, placed.to_image, grid), middle)
        values = _moved(average.t1, placed.to_image, grid)
        furrows = _slices(values / max(float(values.max()), 1e-6), middle)
    numbers = _measured(placed, channels)
    before = {}
    for channel in channels:
        inside_it = resample_mask(placed.brain.mask, case.grid, placed.volumes[channel].grid)
        raw = np.asarray(case.volumes[channel].data, np.float32)[inside_it]
        before[channel] = raw[:: max(1, raw.size // 50_000)]
    return View(
        case.name,
        {channel: _slices(volume_on(placed.volumes[channel], grid), middle) for channel in channels},
        _slices(brain, middle),
        template,
        furrows,
        before,
        _facts(placed, channels, numbers),
        numbers,
    )


def draw(shown: View, prepared: Prepared, channels: Sequence[str], path: Path) -> Path:
    """The page of a case as a picture: a row a channel with three planes and the values before and after.

    Raises
    ------
    DependencyError : matplotlib is not installed.
    """
    figure, rows = new_figure(15, 2.4 * len(channels) + 0.6, rows=len(channels))
    figure.suptitle(f"{shown.name}: " + " · ".join(shown.facts.values()), fontsize=10, wrap=True)
    sides = [shown.brain[plane].shape for plane in _PLANES]
    widths = [*(columns / lines for lines, columns in sides), 1.2, 1.2]  # all planes are as high as their row
    for number, (channel, row) in enumerate(zip(channels, rows, strict=True)):
        *planes, first, second = row.subplots(1, 5, width_ratios=widths)
        for axes, plane in zip(planes, _PLANES, strict=True):
            values = shown.slices[channel][plane]
            low, high = np.percentile(values, (1, 99.5))
            axes.imshow(values, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower")
            if shown.template:
                axes.contour(shown.template[plane], [0.5], colors=_TEMPLATE_COLOR, linewidths=0.9, linestyles="--")
                axes.contour(shown.furrows[plane], [_FURROWS], colors=_TEMPLATE_COLOR, linewidths=0.4)
            if shown.brain[plane].max() > 0.5 > shown.brain[plane].min():
                axes.contour(shown.brain[plane], [0.5], colors=_BRAIN_COLOR, linewidths=1)
            if number == 0:
                axes.set_title(plane, fontsize=9)
            axes.set(xticks=[], yticks=[])
        planes[0].set_ylabel(channel, fontsize=10)
        after = prepared.image[number][prepared.brain]
        for axes, values, title in ((first, shown.before[channel], "brain, before"), (second, after, "after")):
            axes.hist(values, bins=80, histtype="stepfilled", color=_VALUES_COLOR, alpha=0.8)
            axes.set(yticks=[])
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right", "left"]].set_visible(False)
            if number == 0:
                axes.set_title(title, fontsize=9)
    return save_figure(figure, path)


def write_index(folder: Path, pages: Sequence[tuple[View, Sequence[str]]]) -> Path:
    """``index.html``: the picture of each case with its warnings, those with warnings first; ``numbers.csv``.

    Parameters
    ----------
    pages : what was shown of each case, and its warnings; its picture lies in ``folder`` as ``NAME.png``.
    """
    parts = []
    for shown, warnings in sorted(pages, key=lambda page: (not page[1], page[0].name)):
        name = html.escape(shown.name, quote=True)
        facts = "".join(f"<li><b>{html.escape(k)}</b>: {html.escape(v)}</li>" for k, v in shown.facts.items())
        told = "".join(f'<li class="warning">{html.escape(text)}</li>' for text in warnings)
        state = "check" if warnings else "fine"
        parts.append(
            f'<section class="{state}"><h2>{name}</h2><ul>{told}{facts}</ul>'
            f'<a href="{name}.png"><img src="{name}.png" alt="{name}" loading="lazy"></a></section>'
        )
    warned = sum(bool(warnings) for _, warnings in pages)
    body = _BODY.format(count=len(pages), warned=warned, sections="\n".join(parts))
    rows = [{"case": shown.name, **shown.numbers, "warnings": "; ".join(warnings)} for shown, warnings in pages]
    with atomic_path(folder / "numbers.csv") as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    path = folder / "index.html"
    with atomic_path(path) as beside:
        beside.write_text(render_page("Prepared cases", body, _STYLE), encoding="utf-8")
    return path


def _measured(placed: Placed, channels: Sequence[str]) -> dict[str, float]:
    case = placed.case
    numbers = {"brain_ml": float(placed.brain.mask.sum() * case.grid.voxel_ml)}
    corners = case.grid.corners()
    for channel in channels:
        move = Grid((1, 1, 1), case.volumes[channel].grid.affine @ np.linalg.inv(placed.volumes[channel].grid.affine))
        numbers[f"{channel}_moved_mm"] = round(float(np.linalg.norm(move.world(corners) - corners, axis=1).max()), 6)
    if placed.to_image is not None:
        scales = np.linalg.svd(np.linalg.inv(placed.to_image[:3, :3]), compute_uv=False)
        numbers["template_scale_min"], numbers["template_scale_max"] = float(scales.min()), float(scales.max())
        numbers["template_dice"] = brain_dice(placed.to_image, case.grid, placed.brain.mask, load_template())
    return numbers


def _facts(placed: Placed, channels: Sequence[str], numbers: Mapping[str, float]) -> dict[str, str]:
    facts = {"brain": f"brain {numbers['brain_ml']:.0f} ml, {placed.brain.how}"}
    moved = [f"{channel} by up to {mm:.1f} mm" for channel in channels if (mm := numbers[f"{channel}_moved_mm"]) > 1e-3]
    facts["alignment"] = f"moved {', '.join(moved)}" if moved else "channels as their headers say"
    if placed.to_image is not None:
        low, high, dice = (numbers[f"template_{name}"] for name in ("scale_min", "scale_max", "dice"))
        facts["template"] = f"to the template: scaled by {low:.2f} to {high:.2f}, brains overlap with Dice {dice:.3f}"
    return facts


def _moved(volume: Volume, to_image: NDArray[np.float64], grid: Grid) -> NDArray[np.float32]:
    """The template's ``volume`` as it lies over the image."""
    return volume_on(replace(volume, grid=volume.grid.moved(to_image)), grid)


def _slices(values: NDArray[np.float32], middle: Sequence[int]) -> dict[str, NDArray[np.float32]]:
    """Rows and columns to look at, as radiologists do: the patient's right on the left, top or front on top."""
    cut = {plane: np.moveaxis(values, axis, 0)[middle[axis]].T for plane, axis in _PLANES.items()}
    return {plane: np.ascontiguousarray(part if plane == "sagittal" else part[:, ::-1]) for plane, part in cut.items()}


_STYLE = """
section { border-left: 6px solid #1a9850; padding: 0 1em 1em; margin: 1.5em 0; background: #f7f7f7; }
section.check { border-color: #e08214; }
.warning { color: #a04000; font-weight: 600; }
"""

_BODY = """<h1>Prepared cases</h1>
<p>{count} cases, {warned} with warnings (shown first). Yellow: the brain that was found. Blue, with a registration to
the template: outline (dashed) and furrows of the template. On every channel the yellow line must follow the brain, and
the blue lines its shape; after preparation the values of a channel should look alike in all cases.</p>
{sections}"""
