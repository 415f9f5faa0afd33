"""The whole chain of pre-processing and its inverse: an average head, oddly sampled, comes back to where it was.

The phantom is the template's brain, moved, turned, sheared and stretched by a known map and sampled on a grid of each
channel's own: what the chain must find out is known in closed form.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms import ball, make_grid, volume_ml
from scipy.spatial.transform import Rotation

from TransferSegLib.case import Case
from TransferSegLib.grid import Grid
from TransferSegLib.plan import make_pipeline
from TransferSegLib.preparation import Preparation
from TransferSegLib.preprocess import Pipeline
from TransferSegLib.preprocess.pipeline import Placed, labels_on
from TransferSegLib.preprocess.template import load_template
from TransferSegLib.resample import resample
from TransferSegLib.volume import Volume

LESION_AT, LESION_MM = (22.0, -30.0, 25.0), 24.0


def known_map() -> NDArray[np.float64]:
    """From the template's world to the patient's: turned, smaller, sheared, elsewhere."""
    result = np.eye(4)
    shear = np.array([[1, 0.04, 0], [0, 1, -0.03], [0, 0, 1]])
    result[:3, :3] = (
        Rotation.from_euler("xyz", (9, -6, 12), degrees=True).as_matrix() @ shear @ np.diag((0.95, 0.9, 0.97))
    )
    result[:3, 3] = (4, -12, 20)
    return result


def rigid() -> NDArray[np.float64]:
    """How the patient moved between the first and the second image."""
    result = np.eye(4)
    result[:3, :3] = Rotation.from_euler("xyz", (2, 3, -4), degrees=True).as_matrix()
    result[:3, 3] = (2.5, -1.5, 1.0)
    return result


TO_PATIENT, MOVED = known_map(), rigid()
CENTRE = tuple((TO_PATIENT @ [0, -18, 10, 1])[:3].tolist())
FLAIR_GRID = make_grid((0.9, 1.0, 1.6), "LPS", (10, 5, -15), 0.08, 210, CENTRE)
T1_GRID = make_grid((1.2, 1.2, 2.0), "PIR", (0, 4, 8), 0.0, 210, CENTRE)


def brain_image(grid: Grid, to_world: NDArray[np.float64], values: NDArray[np.float32]) -> NDArray[np.float32]:
    template = load_template().t1
    placed = Grid(template.grid.shape, to_world @ template.grid.affine)
    return np.asarray(resample(values, placed, grid), np.float32)


@pytest.fixture(scope="module")
def patient() -> Case:
    """FLAIR (reference, with a label) and T1, taken after the patient moved: skull-stripped, on their own grids."""
    values = np.asarray(load_template().t1.data, np.float32)
    inverted = np.where(values > 0, values.max() * 1.1 - values, 0).astype(np.float32)
    volumes = {
        "flair": Volume(brain_image(FLAIR_GRID, TO_PATIENT, inverted), FLAIR_GRID),
        "t1": Volume(brain_image(T1_GRID, MOVED @ TO_PATIENT, values), T1_GRID),
    }
    lesion = ball(FLAIR_GRID, LESION_AT, LESION_MM)
    return Case("p1", volumes, "flair", lesion.astype(np.uint8))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return make_pipeline(None, Preparation(space="mni", bias="n4", spacing=1))


@pytest.fixture(scope="module")
def placed(patient: Case, pipeline: Pipeline) -> Placed:
    return pipeline.place(patient)


def farthest(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """In mm, over the template's brain."""
    template = load_template().brain
    points = template.grid.world(np.argwhere(template.data)[::997])
    one, other = (Grid((1, 1, 1), matrix).world(points) for matrix in (found, expected))
    return float(np.linalg.norm(one - other, axis=1).max())


def test_the_channels_are_brought_to_where_they_fit(placed: Placed) -> None:
    move = T1_GRID.affine @ np.linalg.inv(placed.volumes["t1"].grid.affine)
    assert farthest(move, MOVED) < 1.0
    np.testing.assert_array_equal(placed.volumes["flair"].grid.affine, FLAIR_GRID.affine)


def test_the_template_is_found_where_the_patient_was_made_from_it(placed: Placed) -> None:
    assert placed.to_image is not None
    assert farthest(placed.to_image, TO_PATIENT) < 3.0


def test_the_working_grid_is_upright_in_the_templates_space(placed: Placed) -> None:
    assert placed.to_image is not None
    in_template = np.linalg.inv(placed.to_image) @ placed.grid.affine
    np.testing.assert_allclose(in_template[:3, :3], np.eye(3), atol=1e-9)
    assert all(side % 8 == 0 for side in placed.grid.shape)


def test_a_label_returns_to_its_own_grid_as_it_was(patient: Case, pipeline: Pipeline, placed: Placed) -> None:
    sampled = pipeline.sample(placed, ["flair", "t1"])
    assert sampled.label is not None
    one_hot = np.stack([sampled.label == 0, sampled.label == 1]).astype(np.float32)
    back = labels_on(FLAIR_GRID, one_hot, sampled.grid)
    assert patient.label is not None
    assert dice(back, patient.label) >= 0.99
    assert volume_ml(back, FLAIR_GRID) == pytest.approx(volume_ml(patient.label, FLAIR_GRID), rel=0.01)


def test_a_label_lies_on_every_channel_where_the_patient_was_then(pipeline: Pipeline, placed: Placed) -> None:
    sampled = pipeline.sample(placed, ["flair", "t1"])
    assert sampled.label is not None
    one_hot = np.stack([sampled.label == 0, sampled.label == 1]).astype(np.float32)
    on_t1 = labels_on(placed.volumes["t1"].grid, one_hot, sampled.grid)
    at = tuple((MOVED @ [*LESION_AT, 1])[:3].tolist())
    assert on_t1.shape == T1_GRID.shape
    assert dice(on_t1, ball(T1_GRID, at, LESION_MM)) >= 0.97


def test_nothing_of_it_is_left_to_chance(patient: Case, pipeline: Pipeline, placed: Placed) -> None:
    again = pipeline.place(patient)
    assert again.grid.affine.tobytes() == placed.grid.affine.tobytes()
    assert again.volumes["t1"].grid.affine.tobytes() == placed.volumes["t1"].grid.affine.tobytes()
    assert again.volumes["t1"].data.tobytes() == placed.volumes["t1"].data.tobytes()


def test_a_chain_without_steps_changes_no_bit(patient: Case) -> None:
    nothing = replace(Pipeline.from_card([]), intensity=())
    one_grid = replace(patient, volumes={"flair": patient.volumes["flair"], "t1": patient.volumes["flair"]})
    prepared = nothing.apply(one_grid, ["flair", "t1"])
    assert prepared.image.tobytes() == np.stack([patient.volumes["flair"].data] * 2).tobytes()
    assert prepared.label is not None
    assert patient.label is not None
    assert prepared.label.tobytes() == patient.label.tobytes()
    one_hot = np.stack([prepared.label == 0, prepared.label == 1]).astype(np.float32)
    assert labels_on(FLAIR_GRID, one_hot, prepared.grid).tobytes() == patient.label.tobytes()


def dice(one: NDArray[Any], other: NDArray[Any]) -> float:
    a, b = one > 0, other > 0
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))
