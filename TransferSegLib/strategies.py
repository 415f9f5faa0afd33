"""The transfer strategies of Kaur et al. 2019 (section 2, Fig. 1b-d) and the layer groups they name, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .errors import InputError

# Layer groups as regular expressions over module names: the one place that says which layer belongs where.
# A strategy names groups, never layers.
LAYER_GROUPS: Mapping[str, str] = {
    "encoder": r"encoder\.\d+\..*|bottom\..*",
    "decoder": r"decoder\.\d+\.(up|norm)|decoder\.(?!1\.)\d+\.conv\d",
    "last convolutions": r"decoder\.1\.conv\d",
    "head": r"head",
}


NORMS = "batch norms"  # a group across the others: the batch normalisations wherever they stand


@dataclass(frozen=True)
class Strategy:
    """A row of the table below: layer groups by name.

    Attributes
    ----------
    new : groups that start from random weights.
    trained : groups that are trained; all others are frozen, weights and running statistics.
    explanation : for the user, in plain words.
    """

    name: str
    new: tuple[str, ...]
    trained: tuple[str, ...]
    explanation: str


_ALL = tuple(LAYER_GROUPS)
_LAST_THREE = ("last convolutions", "head")

STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("scratch", _ALL, _ALL, "Start from random weights and train everything: the baseline."),
        Strategy("last-three", _LAST_THREE, _LAST_THREE, "Replace and train the last three layers; keep the others."),
        Strategy("decoder", _LAST_THREE, ("decoder", *_LAST_THREE), "Keep the encoder; train the decoder."),
        Strategy("all", _LAST_THREE, _ALL, "Replace the last three layers and train everything."),
        Strategy("norm", ("head",), (NORMS, "head"), "Train only the batch normalisations and a new last layer."),
    )
}


def find_strategy(name: str) -> Strategy:
    """Raises
    ------
    InputError : there is no such strategy.
    """
    if name not in STRATEGIES:
        raise InputError(f"There is no strategy '{name}'.", f"Choose one of {', '.join(STRATEGIES)}.")
    return STRATEGIES[name]


def layer_group(module_name: str) -> str:
    """The group of ``LAYER_GROUPS`` that a layer belongs to, by the name of its module."""
    return next(group for group, pattern in LAYER_GROUPS.items() if re.fullmatch(pattern, module_name))


def in_group(module_name: str, groups: Sequence[str]) -> bool:
    """Whether a layer is in one of ``groups``, by the name of its module."""
    return layer_group(module_name) in groups or (NORMS in groups and module_name.endswith(".norm"))


def layer_parameters(in_channels: int, classes: int, base_filters: int = 4, steps: int = 4) -> dict[str, int]:
    """How many parameters each layer of :class:`network.UNet` has, by the name of its module."""

    def conv(inputs: int, outputs: int, side: int = 3) -> int:
        return (inputs * side**3 + 1) * outputs

    filters = [in_channels, *(base_filters * 2**n for n in range(steps))]
    counts = {}
    for n in range(1, steps + 1):
        step = f"encoder.{n}" if n < steps else "bottom"
        counts[f"{step}.conv1"] = conv(filters[n - 1], filters[n])
        counts[f"{step}.conv2"] = conv(filters[n], filters[n])
        if n < steps:
            counts[f"{step}.norm"] = 2 * filters[n]
    for n in range(steps - 1, 0, -1):
        counts[f"decoder.{n}.up"] = conv(filters[n + 1], filters[n])
        counts[f"decoder.{n}.norm"] = 2 * 2 * filters[n]
        counts[f"decoder.{n}.conv1"] = conv(2 * filters[n], filters[n])
        counts[f"decoder.{n}.conv2"] = conv(filters[n], filters[n])
    return {**counts, "head": conv(filters[1], classes, 1)}


class ParameterCounts(NamedTuple):
    """Parameters of a network: those that are trained, and all."""

    trained: int
    total: int


def count_parameters(
    strategy: Strategy, in_channels: int, classes: int, base_filters: int = 4, steps: int = 4
) -> ParameterCounts:
    """What ``strategy`` trains of a :class:`network.UNet` with these parameters; needs no PyTorch."""
    counts = layer_parameters(in_channels, classes, base_filters, steps)
    trained = sum(count for name, count in counts.items() if in_group(name, strategy.trained))
    return ParameterCounts(trained, sum(counts.values()))
