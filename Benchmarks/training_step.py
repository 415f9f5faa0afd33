"""One training step: forward, cross-entropy and Dice, backward, Adam; of `train` itself, and of MONAI's BasicUNet.

"faster" and "less memory" are against MONAI at the same size; "estimate" is what `memory.py` says a step takes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from itertools import pairwise
from math import prod

import measuring
from measuring import Sample

Shape = tuple[int, int, int]

# Name to shape and voxel size in mm: the paper's grid, the box of a brain, and a patch.
FULL: dict[str, tuple[Shape, float]] = {
    "whole image, 1 mm": ((240, 192, 192), 1.0),
    "brain, 1 mm": ((144, 176, 144), 1.0),
    "brain, 2 mm": ((72, 88, 72), 2.0),
    "patch, 1 mm": ((128, 128, 128), 1.0),
}
QUICK: dict[str, tuple[Shape, float]] = {"brain, 1 mm": ((24, 32, 24), 1.0)}
RIVAL = "MONAI BasicUNet, float32"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        args = measuring.parse(measuring.options(__doc__ or ""), folder)
        sizes = QUICK if args.quick else FULL
        setups = {}
        for where, (shape, spacing) in sizes.items():
            setups[f"{where}: {RIVAL}"] = partial(monai, args, shape, spacing)
            for strategy in ("all", "decoder", "last-three") if where == "brain, 1 mm" else ("all",):
                for precision in ("float32", "bfloat16"):
                    name = f"{where}: {strategy}, {precision}"
                    setups[name] = partial(ours, args, shape, spacing, strategy, precision)
        base = measuring.measure_once("imports", partial(imports, args), args)
        results = measuring.measure(setups, args)
        print(measuring.machine(args))
        print(report(results, base.peak, sizes))


def report(results: dict[str, Sample], base: int, sizes: dict[str, tuple[Shape, float]]) -> str:
    from TransferSegLib.memory import training_bytes

    headers = ["grid", "voxels", "step", "median s", "min to max", "faster"]
    headers += ["peak MB", "less memory", "bytes a voxel", "estimate"]
    rows = []
    for name, sample in results.items():
        where, step = name.split(": ")
        voxels = prod(sizes[where][0])
        rival = results.get(f"{where}: {RIVAL}")
        rows.append(
            [
                where,
                " x ".join(map(str, sizes[where][0])),
                step,
                sample.median,
                sample.spread,
                rival.median / sample.median if rival else "",
                sample.peak / 1e6,
                rival.peak / sample.peak if rival else "",
                (sample.peak - base) / voxels,
                "" if step == RIVAL else training_bytes(voxels, step.split(", ")[1]) / voxels,
            ]
        )
    return measuring.table(headers, rows)


def imports(args: argparse.Namespace) -> Sample:
    """What a process takes before it does anything."""
    import torch

    import TransferSegLib.training
    import TransferSegLib.transfer  # noqa: F401

    torch.set_num_threads(args.threads)
    return Sample([], measuring.peak())


def ours(args: argparse.Namespace, shape: Shape, spacing: float, strategy: str, precision: str) -> Sample:
    """The steps of one epoch, without the first: sampling runs beside them as it does in any training."""
    import torch
    from examples import prepared_brain

    from TransferSegLib.events import Event, Progress
    from TransferSegLib.labels import GLIOMA
    from TransferSegLib.network import UNet
    from TransferSegLib.recipe import Recipe
    from TransferSegLib.strategies import find_strategy
    from TransferSegLib.training import train
    from TransferSegLib.transfer import freeze

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = UNet()
    freeze(network, find_strategy(strategy))
    recipe = Recipe(epochs=1, augmentation=(), settle=1.0, precision=precision, device="cpu")
    ends: list[float] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train":
            ends.append(time.perf_counter())

    train(network, [prepared_brain(shape, spacing)] * (args.repeat + 1), [], GLIOMA, recipe, on_event=on_event)
    return Sample([end - start for start, end in pairwise(ends)], measuring.peak())


def monai(args: argparse.Namespace, shape: Shape, spacing: float) -> Sample:
    import torch
    from examples import prepared_brain
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNet

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = BasicUNet(3, 4, 4, features=(4, 4, 8, 16, 32, 4), norm="batch").train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    case = prepared_brain(shape, spacing)
    image, label = torch.from_numpy(case.image)[None], torch.from_numpy(case.label)[None, None].long()

    def step() -> None:
        optimizer.zero_grad()
        loss(network(image), label).backward()
        optimizer.step()

    return Sample(measuring.timed(step, args.repeat), measuring.peak())


if __name__ == "__main__":
    main()
