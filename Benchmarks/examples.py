"""What the benchmarks compute with: a brain, a case on disk, a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from TransferSegLib.model import Model
    from TransferSegLib.preprocess import Prepared

Shape = tuple[int, int, int]

# The brain of a grown-up in mm; in smaller images it is as large as fits.
BRAIN_MM = (136, 168, 136)


def prepared_brain(shape: Shape, spacing: float) -> Prepared:
    """A brain as the network sees it, in the middle of a grid of ``shape``; a sixteenth of it is tumour."""
    from TransferSegLib.grid import Grid
    from TransferSegLib.preprocess import Prepared

    random = np.random.default_rng(0)
    depth = _depth(shape, spacing)
    brain = depth < 1
    label = np.zeros(shape, np.uint8)
    for value, radius in ((2, 0.4), (3, 0.3), (1, 0.2)):
        label[depth < radius] = value
    image = random.standard_normal((4, *shape), np.float32) + np.float32(0.5) * label
    return Prepared("brain", image * brain, brain, Grid(shape, np.diag([spacing] * 3 + [1.0])), label)


def write_case(folder: Path, shape: Shape) -> Path:
    """A case of four modalities as BraTS has them: 1 mm, skull-stripped, int16, zipped."""
    from TransferSegLib.grid import Grid
    from TransferSegLib.volume import Volume, write_volume

    random = np.random.default_rng(0)
    depth = _depth(shape, 1.0)
    grid = Grid(shape, np.diag([-1.0, -1.0, 1.0, 1.0]))
    for number, channel in enumerate(("t1", "t1ce", "t2", "flair")):
        values = 400 + 100 * number + random.normal(0, 60, shape) + 600 * (depth < 0.3)
        write_volume(Volume((values * (depth < 1)).astype(np.int16), grid), folder / f"case_{channel}.nii.gz")
    return folder


def random_model() -> Model:
    """The network as it starts, for glioma, at 1 mm."""
    return _model(1.0, {})


def flair_model(spacing: float) -> Model:
    """A network of the usual size that calls edema what is bright in FLAIR: its answers look like a trained one's."""
    middle = (1, 1, 1)
    weights = {
        "encoder.1.conv1.weight": {(0, 3, *middle): 1.0},
        "encoder.1.conv2.weight": {(0, 0, *middle): 1.0},
        "decoder.1.conv1.weight": {(0, 4, *middle): 1.0},  # the first channel that the skip connection brings
        "decoder.1.conv2.weight": {(0, 0, *middle): 1.0},
        "head.weight": {(2, 0, 0, 0, 0): 20.0},
        "head.bias": {(2,): -50.0},
    }
    return _model(spacing, weights)


def _model(spacing: float, weights: dict[str, dict[tuple[int, ...], float]]) -> Model:
    """``weights`` : tensors that are 0 but for these elements."""
    import torch

    from TransferSegLib.card import INTENDED_USE, LIMITATIONS, hashed_cases
    from TransferSegLib.case_files import CHANNELS
    from TransferSegLib.labels import GLIOMA
    from TransferSegLib.model import new_model
    from TransferSegLib.network import UNet
    from TransferSegLib.plan import make_pipeline
    from TransferSegLib.preparation import Preparation

    torch.manual_seed(0)
    network = UNet()
    state = network.state_dict()
    for name, elements in weights.items():
        state[name].zero_()
        for place, value in elements.items():
            state[name][place] = value
    pipeline = make_pipeline(None, Preparation(spacing=spacing))
    card: dict[str, Any] = {
        "name": "benchmark",
        "version": "1.0",
        "title": "Benchmark",
        "description": "Not trained.",
        "intended_use": INTENDED_USE,
        "limitations": LIMITATIONS,
        "licence": "Apache-2.0",
        "citations": [],
        "channels": CHANNELS,
        "labels": GLIOMA,
        "network": {"in_channels": 4, "classes": 4, "base_filters": 4, "steps": 4},
        "preprocessing": pipeline.to_card(),
        "spacing_mm": pipeline.spacing_mm,
        "shape": pipeline.shape,
        "training": {
            "parent": None,
            "parent_sha256": None,
            "strategy": "scratch",
            "hyperparameters": {},
            "seed": 0,
            "cases": hashed_cases([], salt="0" * 32),
            "frozen_hash_before": None,
            "frozen_hash_after": None,
            "libraries": {},
            "date": "2025-01-01T00:00:00+00:00",
        },
        "metrics": [],
    }
    return new_model(card, state)


def _depth(shape: Shape, spacing: float) -> NDArray[np.float32]:
    """0 in the middle of the brain, 1 on its surface."""
    axes = [
        (np.arange(side, dtype=np.float32) - (side - 1) / 2) * spacing / (min(length, 0.95 * side * spacing) / 2)
        for side, length in zip(shape, BRAIN_MM, strict=True)
    ]
    i, j, k = np.ix_(*axes)
    return np.sqrt(i**2 + j**2 + k**2)
