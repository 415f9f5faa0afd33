"""Scores on the validation cases, on the working grid, that choose the best epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .curves import ProbabilityHistogram
from .device import autocast, to_input
from .labels import LabelScheme
from .metrics import dice
from .network import UNet
from .preprocess import Prepared
from .sampling import draw_sample


def probabilities(network: UNet, case: Prepared, device: torch.device, precision: torch.dtype) -> NDArray[np.float32]:
    """Of each class (F, i, j, k) on the grid of the case. The network is put, and left, in evaluation mode."""
    network.eval()
    sample = draw_sample(case, 0, network.multiple, ())
    with torch.inference_mode(), autocast(device, precision):
        found = network(to_input(sample.image, device))[0].float().softmax(0).cpu().numpy()
    i, j, k = case.brain.shape
    result: NDArray[np.float32] = found[:, :i, :j, :k]
    return result


def validate(
    network: UNet,
    cases: Sequence[Prepared],
    scheme: LabelScheme,
    device: torch.device,
    precision: torch.dtype,
) -> dict[str, float]:
    """Mean Dice of each region over the cases, and the PR-AUC over all their voxels when the scheme is binary."""
    if not cases:
        return {}
    dices: dict[str, list[float]] = {region: [] for region in scheme.regions}
    histogram = ProbabilityHistogram()
    for case in cases:
        assert case.label is not None
        brain = np.asarray(case.brain)
        # A row a class, a column a voxel of the brain.
        probability = probabilities(network, case, device, precision)[:, brain]
        reference = case.label[brain]
        truth = scheme.region_masks(reference)
        for region, mask in scheme.region_masks(probability.argmax(0)).items():
            dices[region].append(dice(mask, truth[region]))
        if scheme.binary:
            histogram.add(probability[1], reference == 1)
    values = {f"dice_{region}": float(np.mean(found)) for region, found in dices.items()}
    if scheme.binary:
        values["pr_auc"] = histogram.pr_auc()
    return values


def score(values: Mapping[str, float], scheme: LabelScheme) -> float:
    """What the best epoch has most of: the sum of Dice over regions, or the PR-AUC (paper, sections 3.3 and 3.4)."""
    if scheme.binary:
        return values["pr_auc"]
    return sum(values[f"dice_{region}"] for region in scheme.regions)
