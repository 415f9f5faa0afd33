"""Simulating one patient with four channels: time and memory, beside TorchIO's domain-randomised images.

"ours, command" is `transferseg simulate` from its start to its end, files written. The rival is what people use for
such images without a simulator of a disease: TorchIO deforms the same tissue maps, draws a contrast, and adds blur,
bias field and noise, once for each channel. It has no lesions, no partial volume at their borders and no labels of a
disease, so its time is what a healthy brain alone costs. Random numbers are drawn anew in each repetition.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from itertools import count
from pathlib import Path

import measuring
from measuring import Sample

OURS, RIVAL = "ours", "TorchIO, healthy brain"
QUICK_MM, FULL_MM = 4.0, 1.0
_seeds = count(1)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        parser = measuring.options(__doc__ or "")
        parser.set_defaults(repeat=1)
        args = measuring.parse(parser, folder)
        spacing = QUICK_MM if args.quick else FULL_MM
        setups = {f"{OURS}, {disease}": partial(ours, args, disease, spacing) for disease in ("ms", "glioma")} | {
            "ours, glioma, command": partial(command, args, spacing),
            RIVAL: partial(torchio, args, spacing),
        }
        if not measuring.has("torchio"):
            del setups[RIVAL]
        results = measuring.measure(setups, args)
        print(measuring.machine(args))
        print(f"One patient, four channels, {spacing:g} mm.\n")
        print(report(results))


def report(results: dict[str, Sample]) -> str:
    rival = results.get(RIVAL)
    rows = []
    for name, sample in results.items():
        ratios = [sample.median / rival.median, sample.peak / rival.peak] if rival else ["", ""]
        rows.append([name, sample.median, sample.spread, ratios[0], sample.peak / 1e6, ratios[1]])
    return measuring.table(["", "median s", "min to max", "time to TorchIO", "peak MB", "memory to TorchIO"], rows)


def ours(args: argparse.Namespace, disease: str, spacing: float) -> Sample:
    """The patient in memory; imports are not counted."""
    from TransferSegLib.simulate import simulate_patient

    times = measuring.timed(lambda: simulate_patient(disease, next(_seeds), spacing), args.repeat)
    return Sample(times, measuring.peak())


def command(args: argparse.Namespace, spacing: float) -> Sample:
    """The command, from its start to its end."""
    words = ["-m", "TransferSegLib", "simulate", "--disease", "glioma", "--cases", "1", "--spacing", f"{spacing:g}"]
    return measuring.command([sys.executable, *words, "--out", str(Path(args.folder) / f"made-{next(_seeds)}")])


def torchio(args: argparse.Namespace, spacing: float) -> Sample:
    """The same number of channels from the same tissue maps."""
    import numpy as np
    import torch
    import torchio as tio

    from TransferSegLib.resample import resample
    from TransferSegLib.simulation.anatomy import brain_grid, load_atlas

    grid, atlas = brain_grid((spacing,) * 3), load_atlas()
    tissues = np.stack([resample(tissue, atlas.grid, grid) for tissue in (atlas.gm, atlas.wm)])
    outside = 1 - tissues.sum(0, keepdims=True)
    maps = torch.from_numpy(np.concatenate([outside, tissues]).astype(np.float32))
    deform = tio.RandomElasticDeformation(num_control_points=9, max_displacement=8)
    draw = tio.RandomLabelsToImage(label_key="tissues", image_key="image")
    spoil = tio.Compose([tio.RandomBlur(), tio.RandomBiasField(), tio.RandomNoise()])

    def make() -> None:
        healthy = deform(tio.Subject(tissues=tio.LabelMap(tensor=maps, affine=grid.affine)))
        for _channel in range(4):
            made = spoil(draw(healthy))["image"].data
            assert made.shape[1:] == grid.shape

    return Sample(measuring.timed(make, args.repeat), measuring.peak())


if __name__ == "__main__":
    main()
