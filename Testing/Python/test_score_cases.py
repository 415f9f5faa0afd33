"""Held-out cases are scored where their label maps lie, whichever channel they were drawn on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hand_model import LESION_AT, LESION_MM, threshold_model, write_head
from phantoms import GRIDS, ball, make_grid

from TransferSegLib.case_files import CaseFiles
from TransferSegLib.grid import Grid
from TransferSegLib.inference import InferenceOptions, Segmenter
from TransferSegLib.runs import score_cases
from TransferSegLib.volume import Volume, read_volume, write_volume

MODEL = threshold_model()
OTHER = make_grid((1.0, 1.0, 1.0), "RAS", centre=(3.0, 0.0, 0.0))  # as many voxels as FLAIR has, elsewhere


def labelled(folder: Path, grids: dict[str, Grid], drawn_on: str) -> CaseFiles:
    case = write_head(folder, "p1", grids, {"flair": [(LESION_AT, LESION_MM)]})
    grid = read_volume(case.channels[drawn_on]).grid
    label = write_volume(Volume(ball(grid, LESION_AT, LESION_MM).astype(np.uint8), grid), folder / "p1_seg.nii.gz")
    return replace(case, label=label)


@pytest.mark.parametrize("drawn_on", ["t1", "flair"])
@pytest.mark.parametrize("t1", [GRIDS["anisotropic"], GRIDS["sheared"], OTHER], ids=["other shape", "sheared", "moved"])
def test_a_label_map_that_was_drawn_on_another_channel_is_scored_there(tmp_path: Path, t1: Grid, drawn_on: str) -> None:
    case = labelled(tmp_path / "in", {"t1": t1, "flair": make_grid()}, drawn_on)
    found = score_cases(MODEL, [case], tmp_path / "out")
    assert case.label is not None
    truth = read_volume(case.label)
    assert read_volume(tmp_path / "out" / "p1.nii.gz").grid.matches(truth.grid)
    (row,) = found.rows
    assert row.values["dice"] > 0.9
    assert row.values["pr_auc"] > 0.95
    assert row.values["reference_ml"] == pytest.approx(truth.data.sum() * truth.grid.voxel_ml, rel=1e-6)


def test_the_reference_of_one_case_goes_before_that_of_the_options(tmp_path: Path) -> None:
    grids = {"t1": GRIDS["anisotropic"], "flair": make_grid()}
    case = labelled(tmp_path, grids, "t1")
    segmenter = Segmenter(MODEL, InferenceOptions(engine="torch", device="cpu", reference="t1"))
    assert segmenter(case).labels.grid.matches(grids["t1"])
    assert segmenter(case, reference="flair").labels.grid.matches(grids["flair"])
