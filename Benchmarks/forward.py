"""One forward pass of the network over a whole volume: our engines, plain PyTorch, and a network of MONAI of like size.

"faster" and "less memory" are against plain PyTorch; "estimate" is what `memory.py` says the pass takes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import measuring
from measuring import Sample

FULL, QUICK = (240, 192, 192), (32, 24, 16)
PLAIN = "plain PyTorch, contiguous, float32"
SLABS = "ours, torch, float32, in half the memory"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        args = measuring.parse(measuring.options(__doc__ or ""), folder)
        size = QUICK if args.quick else FULL
        setups = {
            PLAIN: partial(plain, args, size),
            "ours, torch, float32": partial(ours, args, size, "torch", "float32"),
            "ours, torch, bfloat16": partial(ours, args, size, "torch", "bfloat16"),
            SLABS: partial(in_slabs, args, size),
            "MONAI BasicUNet, contiguous": partial(monai, args, size, False),
            "MONAI BasicUNet, channels last": partial(monai, args, size, True),
        }
        if measuring.has("openvino") and measuring.has("onnxscript"):
            setups["ours, OpenVINO, float32"] = partial(ours, args, size, "openvino", "float32")
            setups["ours, OpenVINO, bfloat16"] = partial(ours, args, size, "openvino", "bfloat16")
        if any("OpenVINO" in name and measuring.wanted(name, args) for name in setups):
            # It is exported once for all, so that no measurement has that in its memory.
            measuring.measure_once("export", partial(export, args), args)
        base = measuring.measure_once("imports", partial(imports, args), args)
        results = measuring.measure(setups, args)
        print(measuring.machine(args))
        print(f"Image of 4 x {' x '.join(map(str, size))}, 4 classes.\n")
        print(report(results, base.peak, size))


def report(results: dict[str, Sample], base: int, size: tuple[int, int, int]) -> str:
    from math import prod

    from TransferSegLib.memory import inference_bytes

    estimate = inference_bytes(prod(size)) / prod(size)
    plain = results.get(PLAIN)
    headers = ["", "median s", "min to max", "faster", "peak MB", "less memory", "bytes a voxel", "estimate"]
    rows = []
    for name, sample in results.items():
        rows.append(
            [
                name,
                sample.median,
                sample.spread,
                plain.median / sample.median if plain else "",
                sample.peak / 1e6,
                plain.peak / sample.peak if plain else "",
                (sample.peak - base) / prod(size),
                estimate * (0.5 if name == SLABS else 1) if name.startswith("ours") else "",
                sample.more("difference") if "difference" in sample.extra else "",
            ]
        )
    return measuring.table([*headers, "largest difference of logits"], rows)


def imports(args: argparse.Namespace) -> Sample:
    """What a process takes before it does anything."""
    import torch

    import TransferSegLib.engines
    import TransferSegLib.model  # noqa: F401

    torch.set_num_threads(args.threads)
    return Sample([], measuring.peak())


def export(args: argparse.Namespace) -> Sample:
    from examples import random_model

    from TransferSegLib.engines import make_engine

    make_engine(random_model(), "openvino")
    return Sample([], measuring.peak())


def plain(args: argparse.Namespace, size: tuple[int, int, int]) -> Sample:
    import numpy as np
    import torch
    from examples import random_model

    torch.set_num_threads(args.threads)
    network = random_model().build()
    batch = torch.from_numpy(_image(size))[None]

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return network(batch)

    sample = Sample(measuring.timed(run, args.repeat), measuring.peak())
    np.save(_logits(args), run()[0].numpy())
    return sample


def ours(args: argparse.Namespace, size: tuple[int, int, int], engine: str, precision: str) -> Sample:
    import torch
    from examples import random_model

    from TransferSegLib.allocator import keep_memory_for_good
    from TransferSegLib.engines import make_engine

    torch.set_num_threads(args.threads)
    keep_memory_for_good()  # as the command does
    run = make_engine(random_model(), engine, "cpu", precision)
    image = _image(size)
    return _sample(args, lambda: run(image))


def in_slabs(args: argparse.Namespace, size: tuple[int, int, int]) -> Sample:
    from math import prod

    import torch
    from examples import random_model

    from TransferSegLib.allocator import keep_memory_for_good
    from TransferSegLib.engines import torch_engine
    from TransferSegLib.memory import inference_bytes, slab_thickness

    torch.set_num_threads(args.threads)
    keep_memory_for_good()
    thickness = slab_thickness(inference_bytes(prod(size)) / 2, size)
    run = torch_engine(random_model().build(), torch.device("cpu"), torch.float32, thickness)
    image = _image(size)
    return _sample(args, lambda: run(image))


def monai(args: argparse.Namespace, size: tuple[int, int, int], channels_last: bool) -> Sample:
    import torch
    from monai.networks.nets import BasicUNet

    torch.set_num_threads(args.threads)
    network = BasicUNet(3, 4, 4, features=(4, 4, 8, 16, 32, 4), norm="batch").eval()
    batch = torch.from_numpy(_image(size))[None]
    if channels_last:
        network = network.to(memory_format=torch.channels_last_3d)
        batch = batch.contiguous(memory_format=torch.channels_last_3d)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return network(batch)

    return Sample(measuring.timed(run, args.repeat), measuring.peak())


def _sample(args: argparse.Namespace, run: Callable[[], Any]) -> Sample:
    """Time and memory first; then how far the logits are from those of plain PyTorch."""
    import numpy as np

    seconds, peak = measuring.timed(run, args.repeat), measuring.peak()
    if not _logits(args).exists():
        return Sample(seconds, peak)
    difference = float(np.abs(run() - np.load(_logits(args), mmap_mode="r")).max())
    return Sample(seconds, peak, {"difference": [difference]})


def _image(size: tuple[int, int, int]) -> Any:
    from examples import prepared_brain

    return prepared_brain(size, 1.0).image


def _logits(args: argparse.Namespace) -> Path:
    return args.folder / "logits.npy"


if __name__ == "__main__":
    main()
