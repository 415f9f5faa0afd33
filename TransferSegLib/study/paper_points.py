"""The points of Fig. 2 of Kaur et al. 2019 as numbers, to draw beside one's own.

Mean Dice of 66 cases of BraTS 2018 (its validation set); one training each, no spread given. Read off the bitmap of the
figure on the authors' slides (github.com/RagMeh11/RagMeh11.github.io, assets/pdf/DART_MICCAI.pdf), to +-0.005. They
give back the two percentages that the paper prints: (0.623 - 0.205) / 0.205 = 204 % and (0.575 - 0.457) / 0.457 = 26 %.
"""

from __future__ import annotations

from collections.abc import Mapping

PAPER_SIZES = (20, 50, 100, 150)

# Region to strategy to Dice at each size.
PAPER_DICE: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "enhancing": {
        "scratch": (0.205, 0.613, 0.597, 0.597),
        "last-three": (0.045, 0.162, 0.172, 0.209),
        "decoder": (0.220, 0.245, 0.303, 0.336),
        "all": (0.623, 0.642, 0.623, 0.664),
    },
    "core": {
        "scratch": (0.457, 0.570, 0.596, 0.597),
        "last-three": (0.249, 0.358, 0.396, 0.408),
        "decoder": (0.469, 0.428, 0.504, 0.531),
        "all": (0.575, 0.665, 0.630, 0.668),
    },
    "whole": {
        "scratch": (0.818, 0.791, 0.812, 0.773),
        "last-three": (0.708, 0.713, 0.758, 0.754),
        "decoder": (0.593, 0.773, 0.780, 0.806),
        "all": (0.813, 0.815, 0.783, 0.845),
    },
}
