"""A model set by hand, whose answer is known beforehand: a class is where one channel is bright. And heads for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from model_examples import card_fields
from numpy.typing import NDArray
from phantoms import ball, make_grid, soft_ball

from TransferSegLib.case_files import CaseFiles
from TransferSegLib.grid import Grid
from TransferSegLib.labels import LESION, LabelScheme
from TransferSegLib.model import Model, new_model
from TransferSegLib.network import UNet
from TransferSegLib.preprocess import Pipeline
from TransferSegLib.preprocess.align import Align
from TransferSegLib.volume import Volume, write_volume

# A few spheres are no anatomy to register.
HEADERS = Align("none")

torch.set_num_threads(1)

Spheres = Sequence[tuple[tuple[float, float, float], float]]

# The head is 100, and 200 within this sphere.
HEAD_MM = 18.0
LESION_AT, LESION_MM = (4.0, -3.0, 5.0), 6.0
LESION_ML = 4 / 3 * np.pi * LESION_MM**3 / 1000


def head(grid: Grid, spheres: Spheres = ((LESION_AT, LESION_MM),)) -> NDArray[np.float32]:
    """A head without skull, with bright spheres at these places, of these radii, in world mm."""
    bright = sum((soft_ball(grid, centre, radius) for centre, radius in spheres), np.zeros(grid.shape, np.float32))
    return np.where(ball(grid, (0, 0, 0), HEAD_MM), 100 * (1 + bright), 0).astype(np.float32)


def _edge_z() -> float:
    """What 150, the value at the sphere's surface, becomes when the brain gets mean 0 and standard deviation 1."""
    image = head(make_grid())
    return float((150 - image[image > 0].mean()) / image[image > 0].std())


EDGE_Z = _edge_z()


def threshold_model(
    classes: Sequence[str] = ("flair",),
    channels: Sequence[str] = ("t1", "flair"),
    scheme: LabelScheme = LESION,
    level: float = 150.0,
    pipeline: Pipeline | None = None,
) -> Model:
    """Class n is where the n-th channel of ``classes`` is brighter than ``level``; of several, the last one.

    ``pipeline`` leaves intensities as they are unless given: a standard deviation hangs on what the brain's edge is.
    """
    pipeline = pipeline or Pipeline(align=HEADERS, intensity=())
    parameters = {"in_channels": len(channels), "classes": len(scheme), "base_filters": len(channels), "steps": 2}
    network = UNet(**parameters)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
                module.weight.zero_()
                module.bias.zero_()
        # Every channel goes unchanged, where it is positive, through the skip to the head.
        same, count = range(len(channels)), len(channels)
        encoder, decoder = network.encoder["1"], network.decoder["1"]
        for conv in (encoder.conv1, encoder.conv2, decoder.conv2):
            conv.weight[same, same, 1, 1, 1] = 1
        decoder.conv1.weight[same, range(count, 2 * count), 1, 1, 1] = 1
        decoder.norm.running_var -= decoder.norm.eps
        for label, channel in enumerate(classes, start=1):
            gain = 10.0**label
            network.head.weight[label, channels.index(channel)] = gain
            network.head.bias[label] = -gain * level
    return new_model(_card(parameters, channels, scheme, pipeline), network.state_dict())


def random_model(
    channels: Sequence[str] = ("t1", "flair"), scheme: LabelScheme = LESION, statistics: str = "running"
) -> Model:
    """Random weights: an answer that nobody knows, and that no symmetry of the image leaves as it is."""
    parameters = {
        "in_channels": len(channels),
        "classes": len(scheme),
        "base_filters": 4,
        "steps": 2,
        "statistics": statistics,
    }
    torch.manual_seed(0)
    network = UNet(**parameters)
    with torch.no_grad():  # so that both probabilities occur
        network.head.bias.zero_()
        logits = network.eval()(torch.randn(1, len(channels), 16, 16, 16))
        network.head.weight *= 2 / logits.std()
        network.head.bias -= logits.mean((0, 2, 3, 4)) * 2 / logits.std()
    return new_model(_card(parameters, channels, scheme, Pipeline(align=HEADERS)), network.state_dict())


def _card(
    parameters: Mapping[str, object], channels: Sequence[str], scheme: LabelScheme, pipeline: Pipeline
) -> dict[str, object]:
    return card_fields(
        name=f"{scheme.name}-by-hand",
        channels=list(channels),
        labels=scheme.to_dict(),
        network=parameters,
        preprocessing=pipeline.to_card(),
        spacing_mm=pipeline.spacing_mm,
        shape=pipeline.shape,
    )


def write_head(
    folder: Path, name: str, grids: Mapping[str, Grid], spheres: Mapping[str, Spheres], ending: str = ".nii.gz"
) -> CaseFiles:
    """A case of one image a channel, each on its own grid and with its own spheres."""
    files = {}
    for channel, grid in grids.items():
        image = head(grid, spheres.get(channel, [((-5.0, 0.0, 0.0), 4.0)]))
        files[channel] = write_volume(Volume(image, grid), folder / f"{name}_{channel}{ending}")
    return CaseFiles(name, files)
