"""What the network does not get to see, and what the registration to the template gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms import ball, make_grid, volume_ml

from TransferSegLib.case import Case
from TransferSegLib.events import Event
from TransferSegLib.preprocess import Pipeline
from TransferSegLib.preprocess.align import Align
from TransferSegLib.preprocess.brain import FindBrain
from TransferSegLib.preprocess.crop import PadOrCrop
from TransferSegLib.preprocess.to_template import ToTemplate
from TransferSegLib.volume import Volume

GRID = make_grid((1.0, 1.0, 2.0), "LPS", (5, -4, 8), extent=60)
BRAIN = ball(GRID, (4, 0, 0), 22)
LESION = ball(GRID, (17, 0, 0), 5)
HALF_MM = 16


def case(label: NDArray[np.bool_] | None = None) -> Case:
    image = np.where(BRAIN, np.random.default_rng(0).uniform(50, 150, GRID.shape), 0).astype(np.float32)
    return Case("p1", {"t1": Volume(image, GRID)}, "t1", None if label is None else label.astype(np.uint8))


def warnings(patient: Case, shape: tuple[int, int, int], brain: str = "auto") -> list[str]:
    seen: list[Event] = []
    Pipeline(Align("none"), FindBrain(brain), geometry=(PadOrCrop(shape),)).place(patient, seen.append)
    assert all(event.case == "p1" for event in seen)  # type: ignore[attr-defined]
    return [event.text for event in seen]  # type: ignore[attr-defined]


def cut_ml(mask: NDArray[np.bool_]) -> float:
    """Ml of a mask beyond the middle 32 voxels along the first axis."""
    beyond = mask.copy()
    beyond[30 - HALF_MM : 30 + HALF_MM] = False
    return volume_ml(beyond, GRID)


def test_brain_and_labels_that_a_fixed_shape_cuts_off_are_told() -> None:
    told = "ml of {} lie outside of the voxels that the network sees: they are neither learned from nor segmented."
    assert cut_ml(LESION) > 0.05
    assert warnings(case(LESION), (32, 60, 30)) == [
        f"{cut_ml(mask):.2g} {told.format(what)}" for what, mask in (("the brain", BRAIN), ("the labels", LESION))
    ]
    assert warnings(case(), (32, 60, 30)) == [f"{cut_ml(BRAIN):.2g} {told.format('the brain')}"]


def test_what_is_all_there_is_not_told() -> None:
    assert warnings(case(LESION), (60, 60, 30)) == warnings(case(LESION), (72, 64, 64)) == []
    assert warnings(case(np.zeros_like(BRAIN)), (60, 60, 30)) == []


def test_of_a_whole_image_air_may_be_cut_off_but_no_label() -> None:
    assert warnings(case(), (56, 60, 30), "none") == []
    (told,) = warnings(case(LESION), (32, 60, 30), "none")
    assert "of the labels lie outside" in told


def test_labels_outside_of_the_brains_box_are_told_too() -> None:
    seen: list[Event] = []
    stray = LESION | ball(GRID, (-26, 0, 0), 3)
    Pipeline(Align("none")).place(case(stray), seen.append)
    (warning,) = seen
    assert "of the labels lie outside" in warning.text  # type: ignore[attr-defined]


@pytest.mark.parametrize("brain", ["auto", "none"])
def test_without_a_brain_the_template_is_laid_over_a_head(monkeypatch: pytest.MonkeyPatch, brain: str) -> None:
    given: list[Any] = []

    def apply(self: ToTemplate, image: Volume, mask: NDArray[np.bool_] | None, *_: Any) -> NDArray[np.float64]:
        given.append(mask)
        return np.eye(4)

    monkeypatch.setattr(ToTemplate, "apply", apply)
    pipeline = replace(Pipeline(Align("none"), FindBrain(brain)), template=ToTemplate())
    pipeline.place(case())
    assert [mask is None for mask in given] == [brain == "none"]
