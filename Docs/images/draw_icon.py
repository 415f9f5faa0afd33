"""Draws the icon: what was learned on the lesion of one half of the brain passes to the tumor of the other.

Run from the repository's root. Writes the icon of the extension and of the module, or with --look a sheet of its sizes
in Slicer, on a light and on a dark ground:

    python Docs/images/draw_icon.py
    python Docs/images/draw_icon.py --look look.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
ICONS = (ROOT / "TransferSeg.png", ROOT / "TransferSeg" / "Resources" / "Icons" / "TransferSeg.png")
SIZE = 128
FINER = 8  # is drawn this many times larger, then made smaller, so that edges are smooth

Points = NDArray[np.float64]
Color = tuple[int, int, int]
OUTLINE = (18, 36, 56)
SOURCE = (128, 142, 158)
# Okabe and Ito's colors, told apart by color-blind people too.
TARGET = (0, 114, 178)
LESION = (230, 159, 0)
TUMOR = (213, 94, 0)
CORE = (250, 225, 90)
ARROW = (255, 255, 255)


def brain(width: float, height: float) -> Points:
    """Outline of a brain from above, its front at the top, with folds and a notch at either end of the midline."""
    angle = np.linspace(0, 2 * np.pi, 1440, endpoint=False)
    folds = 0.95 + 0.05 * np.abs(np.sin(8 * angle + np.pi / 2))
    across = folds * np.cos(angle) * (1 + 0.08 * np.sin(angle))
    along = folds * np.sin(angle)
    along *= 1 - 0.07 * np.exp(-((np.cos(angle) / 0.12) ** 2))
    return np.stack([SIZE / 2 + width / 2 * across, SIZE / 2 + height / 2 * along], axis=1)


class Picture:
    """Shapes in the icon's pixels, drawn finer."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (SIZE * FINER, SIZE * FINER), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def fill(self, outline: Points, color: Color) -> None:
        self._draw.polygon([(x, y) for x, y in outline * FINER], fill=color)

    def fill_halves(self, outline: Points, left: Color, right: Color) -> None:
        middle = SIZE / 2
        self.fill(np.column_stack([np.minimum(outline[:, 0], middle), outline[:, 1]]), left)
        self.fill(np.column_stack([np.maximum(outline[:, 0], middle), outline[:, 1]]), right)

    def disc(self, x: float, y: float, radius: float, color: Color) -> None:
        angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        self.fill(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1), color)

    def arrow(self, path: Points, width: float, head: float, color: Color, border: float = 0) -> None:
        """An arrow along ``path``; with ``border`` it is as much wider on all sides."""
        for x, y in path:
            self.disc(x, y, width / 2 + border, color)
        along = path[-1] - path[-2]
        along /= np.linalg.norm(along)
        aside = np.array([-along[1], along[0]]) * (0.8 * head + 1.8 * border)
        tip, foot = path[-1] + along * (head + 1.7 * border), path[-1] - along * (1 + border)
        self.fill(np.stack([tip, foot + aside, foot - aside]), color)

    def shrunk(self, size: int) -> Image.Image:
        return self.image.resize((size, size), Image.Resampling.LANCZOS)


def draw() -> Picture:
    """The icon."""
    picture = Picture()
    picture.fill(brain(116, 126), OUTLINE)
    picture.fill_halves(brain(105, 115), SOURCE, TARGET)
    picture.fill(np.array([[62.0, 8], [66, 8], [66, 120], [62, 120]]), OUTLINE)
    picture.disc(35, 84, 13, LESION)
    picture.disc(91, 84, 22, TUMOR)
    picture.disc(91, 84, 12, CORE)
    angle = np.linspace(1.02, 1.87, 200) * np.pi
    path = np.stack([63 + 28 * np.cos(angle), 61 + 30 * np.sin(angle)], axis=1)
    picture.arrow(path, 11, 17, OUTLINE, border=3)
    picture.arrow(path, 11, 17, ARROW)
    return picture


def sheet(picture: Picture) -> Image.Image:
    """The icon in several sizes, and these enlarged."""
    sizes = (128, 32, 16)
    shown = Image.new("RGB", (150 * len(sizes), 2 * 300), (240, 240, 240))
    shown.paste((45, 45, 45), (0, 300, shown.width, shown.height))
    for row in range(2):
        for column, size in enumerate(sizes):
            small = picture.shrunk(size)
            large = small.resize((128, 128), Image.Resampling.NEAREST)
            for top, image in ((10, small), (160, large)):
                shown.paste(image, (150 * column + 10, 300 * row + top), image)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--look", help="write a sheet to look at, and nothing else")
    look = parser.parse_args().look
    picture = draw()
    if look:
        sheet(picture).save(look)
        return
    for path in ICONS:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.shrunk(SIZE).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main()
