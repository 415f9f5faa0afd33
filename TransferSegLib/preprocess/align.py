"""The channels of one case, brought to where they fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..events import OnEvent, Warning, ignore
from ..preparation import ALIGN_METHODS
from ..volume import Volume
from .registration import Registration, register

# Nobody moves further in the scanner: a registration that says so went astray.
_FARTHEST_MM = 20.0
_FARTHEST_DEG = 15.0
# Less of the reference image than this within the other one is too little to compare.
_LEAST_OVERLAP = 0.3


@dataclass(frozen=True)
class Align:
    """Rigid registration of each channel to the reference channel: patients move between two sequences.

    Attributes
    ----------
    method : ``auto`` registers the channels that are not on the grid of the reference channel: those that are were
        brought there by somebody, most likely after registration; ``rigid`` registers all; ``none`` trusts the headers.
    """

    step: ClassVar[str] = "align"
    method: str = "auto"

    def __post_init__(self) -> None:
        if self.method not in ALIGN_METHODS:
            raise InputError(
                f"There is no way '{self.method}' to align channels.", f"Use one of {', '.join(ALIGN_METHODS)}."
            )

    def apply(
        self, volumes: Mapping[str, Volume], reference: str, name: str = "", on_event: OnEvent = ignore
    ) -> dict[str, NDArray[np.float64]]:
        """For each channel the map (4, 4) from the world of the reference channel to its own, RAS, mm.

        A map that cannot be right is warned about, and the headers are trusted instead: it is then the identity.
        """
        fixed = volumes[reference]
        return {
            channel: np.eye(4)
            if self._stays(channel, volume, fixed, reference)
            else _found(fixed, volume, channel, name, on_event)
            for channel, volume in volumes.items()
        }

    def _stays(self, channel: str, volume: Volume, fixed: Volume, reference: str) -> bool:
        if channel == reference or self.method == "none":
            return True
        return self.method == "auto" and volume.grid.matches(fixed.grid)


def _found(fixed: Volume, moving: Volume, channel: str, name: str, on_event: OnEvent) -> NDArray[np.float64]:
    try:
        found = register(fixed, moving, "rigid")
    except InputError as error:
        problem: str | None = error.cause.rstrip(".")
    else:
        problem = _problem(found)
    if problem is None:
        return found.matrix
    on_event(Warning(f"Channel '{channel}' was not aligned: {problem}. Its header is trusted instead.", name))
    return np.eye(4)


def _problem(found: Registration) -> str | None:
    """Why the result cannot be right, or None."""
    if found.overlap < _LEAST_OVERLAP:
        return f"it covers only {found.overlap:.0%} of the reference image"
    if found.shift_mm > _FARTHEST_MM:
        return f"registration moved it by {found.shift_mm:.0f} mm, more than {_FARTHEST_MM:.0f} mm"
    if found.rotation_deg > _FARTHEST_DEG:
        return f"registration turned it by {found.rotation_deg:.0f} degrees, more than {_FARTHEST_DEG:.0f}"
    return None
