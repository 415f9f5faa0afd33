"""The whole story in minutes, on phantom patients: pre-train, fine-tune with each strategy, test, compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .case import load_case
from .datasets import find_cases
from .errors import DependencyError, InputError
from .events import CancelToken, Message, OnEvent, Progress, Result, Warning, ignore
from .figures import add_class_legend, new_figure, plot_curves, plot_overlay, save_figure
from .labels import GLIOMA
from .phantom import write_phantoms
from .recipe import Recipe
from .resample import resample, resample_labels
from .runs import Run, fine_tune, pretrain
from .volume import read_volume

_RECIPE = Recipe(epochs=20, augmentation=("flip", "shift"))
_STRATEGIES = ("scratch", "last-three", "decoder", "all")
_HELD_OUT = ("glioma-phantom-005", "glioma-phantom-006", "glioma-phantom-007")


def run_demo(out: str | Path, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> list[list[str]]:
    """Make phantom patients, pre-train on their lesions, adapt to their tumours, and compare the strategies.

    Returns
    -------
    The table of Dice on held-out phantoms: a header, then a row a strategy. Also in ``out``: the data, the models, the
    results, and ``demo.png`` where matplotlib is installed.

    Raises
    ------
    InputError : ``out`` is in use.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty.", "Choose another --out, or delete it.")
    on_event(Message("demo", "Phantom patients stand in for real ones: the numbers mean nothing for people."))
    lesions = write_phantoms(out / "data" / "ms", "ms", 6, seed=1)
    tumours = write_phantoms(out / "data" / "glioma", "glioma", 8, seed=2)

    def quiet(event: object) -> None:
        """The bars of ten short stages would only flicker."""
        if isinstance(event, Warning):
            on_event(event)

    steps = len(_STRATEGIES) + 1
    on_event(Progress("demo", 0, steps, None, "pre-train on lesions"))
    source = pretrain(lesions, out / "source", _RECIPE, cache=out / "cache", on_event=quiet, cancel=cancel)
    runs: dict[str, Run] = {}
    for number, strategy in enumerate(_STRATEGIES, start=1):
        on_event(Progress("demo", number, steps, None, f"fine-tune on tumours: {strategy}"))
        runs[strategy] = fine_tune(
            tumours,
            out / strategy,
            source.model,
            strategy,
            replace(_RECIPE, seed=1),
            held_out=_HELD_OUT,
            cache=out / "cache",
            on_event=quiet,
            cancel=cancel,
        )
    on_event(Progress("demo", steps, steps, 0.0))
    table = _table(runs)
    try:
        on_event(Result({"figure": _draw(runs, tumours, out / "demo.png")}))
    except DependencyError as error:
        on_event(Warning(f"No figure: {error}"))
    return table


def _table(runs: Mapping[str, Run]) -> list[list[str]]:
    rows = [["strategy", *(f"Dice {region}" for region in GLIOMA.regions)]]
    for strategy, run in runs.items():
        assert run.held_out is not None
        rows.append([strategy, *(f"{run.held_out.summary(region, 'dice').mean:.3f}" for region in GLIOMA.regions)])
    return rows


def _draw(runs: Mapping[str, Run], data: Path, path: Path) -> Path:
    """Above: learning curves and the held-out Dice; below: one held-out case as each strategy sees it."""
    figure, axes = new_figure(2, len(runs) + 1, 2.5 * (len(runs) + 1), 5.6)
    histories = {strategy: run.history for strategy, run in runs.items()}
    for column, region in enumerate(GLIOMA.regions):
        plot_curves(axes[0, column], histories, f"dice_{region}", f"{region}: validation")
        axes[0, column].set_ylim(0, 1)
    handles, names = axes[0, 0].get_legend_handles_labels()
    axes[0, len(GLIOMA.regions)].legend(handles, names, loc="center", frameon=False)
    for free in axes[0, len(GLIOMA.regions) :]:
        free.set_axis_off()
    case = find_cases(data).select([_HELD_OUT[0]]).cases[0]
    truth = load_case(case, scheme=GLIOMA)
    assert truth.label is not None
    grid = truth.grid.reoriented()
    image = resample(truth.channels["t1c"], truth.grid, grid)
    panels: list[tuple[str, Sequence[int] | np.ndarray]] = [("reference", truth.label)]
    for strategy, run in runs.items():
        found = read_volume(run.folder / "held-out" / f"{case.name}.nii.gz")
        panels.append((strategy, GLIOMA.encode(found.data)))
    slice_k = int((truth.label > 0).sum((0, 1)).argmax())
    for column, (title, labels) in enumerate(panels):
        shown = resample_labels(np.asarray(labels, np.uint8), truth.grid, grid, len(GLIOMA))
        plot_overlay(axes[1, column], image, shown, GLIOMA, slice_k, title)
    add_class_legend(figure, GLIOMA)
    return save_figure(figure, path)
