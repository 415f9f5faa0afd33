"""The whole story in minutes: simulate patients, adapt the shipped model with each strategy, test, compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .case import load_case
from .datasets import find_cases
from .errors import Cancelled, DependencyError, InputError
from .events import CancelToken, Event, Message, OnEvent, Progress, Result, Warning, ignore
from .figures import add_class_legend, new_figure, plot_curves, plot_overlay, plot_scores, save_figure
from .labels import GLIOMA
from .model import load_model
from .recipe import Recipe
from .runs import Run, fine_tune
from .simulate import simulate_dataset
from .study.panels import upright
from .volume import read_volume

_RECIPE = Recipe(epochs=20)
_SOURCE, _SPACING_MM = "ms-lesion-fast", 2.0
_PATIENTS, _SEED = 10, 7
_VALIDATION = ("glioma-sim-7-0005", "glioma-sim-7-0006")
_HELD_OUT = ("glioma-sim-7-0007", "glioma-sim-7-0008", "glioma-sim-7-0009")
_STRATEGIES = ("scratch", "last-three", "decoder", "all")


def run_demo(out: str | Path, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> list[list[str]]:
    """Simulate glioma patients, adapt the shipped lesion model to them with each strategy, and compare.

    Returns
    -------
    The table of Dice on held-out patients: a header, then a row a strategy. Also in ``out``: the data, the models, the
    results, and ``demo.png`` where matplotlib is installed.

    Raises
    ------
    InputError : ``out`` is in use.
    Cancelled : on request; the models made until then are kept.
    """
    out, cancel = Path(out), cancel or CancelToken()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder.", "Choose another --out, or delete it.")
    source = load_model(_SOURCE)
    on_event(
        Message(
            "demo",
            f"{_PATIENTS} patients with glioma are simulated; {source.card.name}, which knows lesions of multiple "
            "sclerosis only, is adapted to them. The numbers say nothing about real patients: see Docs/models.md.",
        )
    )
    tumours = simulate_dataset("glioma", out / "data", _PATIENTS, _SEED, _SPACING_MM, on_event=on_event, cancel=cancel)

    def bar(name: str) -> OnEvent:
        """One bar for each training: those of its short stages would only flicker."""

        def show(event: Event) -> None:
            if isinstance(event, Progress) and event.stage == "train":
                on_event(replace(event, stage=name))
            elif isinstance(event, Warning):
                on_event(event)

        return show

    def finished(run: Run) -> Run:
        if run.cancelled:
            raise Cancelled()
        return run

    common: dict[str, Any] = {"cache": out / "cache", "cancel": cancel, "spacing": _SPACING_MM}
    runs = {
        strategy: finished(
            fine_tune(
                tumours,
                out / strategy,
                source,
                strategy,
                replace(_RECIPE, seed=1),
                validation=_VALIDATION,
                held_out=_HELD_OUT,
                on_event=bar(strategy),
                **common,
            )
        )
        for strategy in _STRATEGIES
    }
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
    figure, (above, below) = new_figure(12, 6.4, rows=2)
    axes = above.subplots(1, len(GLIOMA.regions) + 1, sharey=True, width_ratios=[*[1] * len(GLIOMA.regions), 1.4])
    histories = {strategy: run.history for strategy, run in runs.items()}
    for column, region in enumerate(GLIOMA.regions):
        plot_curves(axes[column], histories, f"dice_{region}", f"validation, {region}")
        axes[column].label_outer()
    plot_scores(axes[-1], {name: _dice(run) for name, run in runs.items()}, "Dice", f"{len(_HELD_OUT)} held-out cases")
    axes[-1].set_ylim(0, 1)
    axes[-1].tick_params(labelleft=True)
    handles, names = axes[0].get_legend_handles_labels()
    above.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    case = find_cases(data).select([_HELD_OUT[0]]).cases[0]
    truth = load_case(case, scheme=GLIOMA)
    assert truth.label is not None
    panels = {"reference": truth.label}
    for strategy, run in runs.items():
        panels[strategy] = GLIOMA.encode(read_volume(run.folder / "held-out" / f"{case.name}.nii.gz").data)
    image, shown, grid = upright(truth, "t1c", panels, len(GLIOMA))
    slice_k = int((shown["reference"] > 0).sum((0, 1)).argmax())
    height_mm = float(grid.world(np.array([0, 0, slice_k]))[2])
    below.suptitle(f"{case.name}, t1c, axial slice at {height_mm:.0f} mm", fontsize=10)
    for one, (title, labels) in zip(below.subplots(1, len(shown)), shown.items(), strict=True):
        plot_overlay(one, image, labels, GLIOMA, slice_k, title, grid.spacing)
    add_class_legend(below, GLIOMA)
    return save_figure(figure, path)


def _dice(run: Run) -> dict[str, list[float]]:
    """Of each held-out case, by region."""
    assert run.held_out is not None
    return {
        region: [row.values["dice"] for row in run.held_out.rows if row.region == region] for region in GLIOMA.regions
    }
