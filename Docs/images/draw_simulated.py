"""Draws ``simulated.png``: simulated patients, a row each; with real ones above them on request.

Run from the repository's root:

    python Docs/images/draw_simulated.py --out Docs/images/simulated.png
    python Docs/images/draw_simulated.py --beside ms_cases --beside glioma_cases --out look.png
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from TransferSegLib.case import load_case
from TransferSegLib.case_files import CHANNELS
from TransferSegLib.datasets import find_cases
from TransferSegLib.figures import add_class_legend, new_figure, plot_overlay, save_figure
from TransferSegLib.labels import GLIOMA, LESION, LabelScheme
from TransferSegLib.resample import resample, resample_labels
from TransferSegLib.simulate import DISEASES, simulate_patient

Shown = tuple[str, Mapping[str, NDArray[np.float32]], NDArray[np.uint8], LabelScheme]


def simulated(each: int, seed: int) -> Iterator[Shown]:
    for disease, scheme in DISEASES.items():
        for number in range(each):
            patient = simulate_patient(disease, (seed, number))
            title = f"{disease} {number}" + (f", {patient.group}" if patient.group else "")
            images = {name: image.astype(np.float32) for name, image in patient.channels.items()}
            yield title, images, patient.labels, scheme


def real(folder: str, most: int) -> Iterator[Shown]:
    dataset = find_cases(folder)
    scheme = dataset.scheme or LESION
    for files in dataset.cases[:most]:
        case = load_case(files, scheme=scheme)
        assert case.label is not None
        grid = case.grid.reoriented().respaced((1.0, 1.0, 1.0))
        images = {name: resample(image, case.grid, grid).astype(np.float32) for name, image in case.channels.items()}
        yield f"real: {files.name}", images, resample_labels(case.label, case.grid, grid, len(scheme)), scheme


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="simulated.png")
    parser.add_argument("--each", type=int, default=5, help="simulated patients of each disease")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--beside", action="append", default=[], help="dataset of real cases")
    options = parser.parse_args()
    rows = [*simulated(options.each, options.seed)]
    for folder in options.beside:
        rows = [*real(folder, options.each), *rows]
    figure, parts = new_figure(10, 2.15 * len(rows) + 0.4, rows=len(rows))
    for part, (title, images, labels, scheme) in zip(parts, rows, strict=True):
        slice_k = int((labels > 0).sum((0, 1)).argmax())
        inside = np.argwhere(images["t1"] > 0)
        box = tuple(slice(low, high + 1) for low, high in zip(inside.min(0), inside.max(0), strict=True))
        axes = part.subplots(1, len(CHANNELS) + 1)
        for axis, channel in zip(axes, CHANNELS, strict=False):
            plot_overlay(axis, images[channel][box], None, scheme, slice_k - box[2].start, channel)
        plot_overlay(axes[-1], images["flair"][box], labels[box], scheme, slice_k - box[2].start, title)
    add_class_legend(figure, GLIOMA)
    print(save_figure(figure, Path(options.out)))


if __name__ == "__main__":
    main()
