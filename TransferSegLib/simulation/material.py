"""What a simulated brain is made of, and how bright each of it is in each channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fields import Array

Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """Ranges of the brightness of a material, with white matter as 1.

    Attributes
    ----------
    t1, t2, flair : brightness in these channels.
    uptake : brightness in t1c, with that in t1 as 1.
    texture : how much it differs from place to place, as a share of the brightness.
    """

    t1: Range
    uptake: Range
    t2: Range
    flair: Range
    texture: float = 0.03

    def draw(self, random: np.random.Generator) -> Array:
        """Brightness in t1, t1c, t2, flair."""
        t1, uptake, t2, flair = (random.uniform(*each) for each in (self.t1, self.uptake, self.t2, self.flair))
        return np.array([t1, t1 * uptake, t2, flair], np.float32)


# Measured on two MS patients and 17 glioma patients of several scanners, and widened.
LOOKS: Mapping[str, Look] = {
    "csf": Look((0.15, 0.55), (0.9, 1.3), (1.6, 2.8), (0.2, 0.6), 0.05),
    "gm": Look((0.62, 0.90), (0.96, 1.12), (1.15, 1.55), (1.0, 1.42), 0.07),
    "wm": Look((1.0, 1.0), (0.96, 1.04), (1.0, 1.0), (1.0, 1.0), 0.035),
    # Around the brain where the skull was not stripped well: dura, bone.
    "rim": Look((0.25, 0.8), (1.0, 1.7), (0.3, 1.6), (0.25, 0.9), 0.25),
    "vessel": Look((0.5, 1.2), (1.3, 2.2), (0.3, 1.0), (0.3, 0.9), 0.1),
    "lesion": Look((0.62, 0.95), (0.97, 1.08), (1.3, 2.1), (1.25, 1.9), 0.06),
    "black hole": Look((0.30, 0.66), (0.97, 1.1), (1.5, 2.6), (1.15, 1.9), 0.08),
    "enhancing lesion": Look((0.68, 0.95), (1.3, 1.9), (1.4, 2.1), (1.3, 1.8), 0.08),
    "edema": Look((0.72, 0.97), (0.97, 1.06), (1.3, 2.1), (1.25, 2.2), 0.07),
    "necrosis": Look((0.45, 0.9), (0.95, 1.15), (1.45, 2.6), (0.85, 2.0), 0.12),
    "solid tumour": Look((0.55, 0.85), (0.97, 1.12), (1.5, 2.4), (1.25, 2.1), 0.10),
    "enhancing tumour": Look((0.75, 1.0), (1.35, 2.0), (1.3, 2.1), (1.2, 2.1), 0.12),
}


@dataclass(frozen=True, eq=False)
class Material:
    """One of the things a voxel can hold.

    Attributes
    ----------
    look : a key of ``LOOKS``.
    share : (i, j, k) how much of each voxel it takes, 0..1.
    """

    look: str
    share: Array


@dataclass(frozen=True, eq=False)
class Findings:
    """What the disease did to the brain.

    Attributes
    ----------
    labels : (i, j, k) internal labels of the disease's scheme.
    materials : take the place of healthy tissue where they are.
    group : stratum, for instance the grade; may be empty.
    """

    labels: NDArray[np.uint8]
    materials: tuple[Material, ...]
    group: str = ""
