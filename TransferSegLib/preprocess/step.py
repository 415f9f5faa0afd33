"""What a pre-processing step is. Each step is a small frozen dataclass in a file of its own.

A geometric step only plans where the network's voxels shall lie; the pipeline then interpolates once for all of them.
An intensity step changes values on that grid. The steps before them are a kind each: `align`, `brain`, `n4`,
`to_template`. All are recorded in the model card as ``{"step": name, **parameters}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid


@runtime_checkable
class GeometricStep(Protocol):
    """Plans the working grid. The way back needs no code of the step: results return through world space."""

    step: ClassVar[str]

    def plan(self, grid: Grid, brain_mm: NDArray[np.float64]) -> Grid:
        """The next grid, from the one planned so far and the world coordinates (n, 3) of the brain's outer voxels."""


@runtime_checkable
class IntensityStep(Protocol):
    """Changes the values of one channel."""

    step: ClassVar[str]

    def apply(self, image: NDArray[np.float32], brain: NDArray[np.bool_], channel: str) -> NDArray[np.float32]:
        """New values (i, j, k), from statistics over ``brain`` (i, j, k), which has at least one voxel.

        ``channel`` is its name, for a step that learned something about each.
        """


def record(step: Any) -> dict[str, Any]:
    """The step as it stands in a model card."""
    return {"step": step.step, **asdict(step)}


def restore(kinds: Mapping[str, type], data: Mapping[str, Any]) -> Any:
    """The step from a model card, the inverse of :func:`record`. Lists become tuples as the steps declare them.

    Raises
    ------
    KeyError, TypeError : unknown step or parameter; the pipeline turns it into a message.
    """
    kind = kinds[data["step"]]
    parameters = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key != "step"
    }
    for item in fields(kind):
        default = item.default_factory() if callable(item.default_factory) else item.default
        if item.name in parameters and not _like(parameters[item.name], default):
            raise TypeError(f"'{item.name}' of '{data['step']}' cannot be {data[item.name]!r}")
    return kind(**parameters)


def _like(value: Any, default: Any) -> bool:
    """Whether ``value`` is of the kind that ``default`` is. A number may be missing (None) where no step needs it."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and len(value) == len(default) and all(map(_like, value, default))
    if isinstance(default, float):
        return value is None or type(value) in (int, float)
    return type(value) is type(default)
