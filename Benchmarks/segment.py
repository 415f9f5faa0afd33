"""One whole `segment` of a case of four modalities: time, memory, and where the time goes.

"ready" is a call of a Segmenter that is loaded, "command" is `transferseg segment` from its start to its end. The parts
are shares of "ready"; "to 1 mm torch" is how many times as fast that is as PyTorch at 1 mm.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import measuring
from measuring import Sample

FULL, QUICK = (240, 240, 155), (48, 48, 40)
PARTS = ("read", "place", "sample", "scale", "network", "back to the grid", "write")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        parser = measuring.options(__doc__ or "")
        parser.add_argument("case", nargs="?", type=Path, help="folder of a case; default: one is made")
        args = measuring.parse(parser, folder)
        ready, commands = {}, {}
        for spacing in (1, 2):
            for engine in ("torch", "openvino") if measuring.has("openvino") else ("torch",):
                name = f"{spacing} mm, {engine}"
                ready[f"ready: {name}"] = partial(segment_ready, args, spacing, engine)
                commands[f"command: {name}"] = partial(segment_command, args, spacing, engine)
        measuring.measure_once("make", partial(make, args), args)
        results = measuring.measure(ready | commands, args)
        print(measuring.machine(args))
        print(report(results))


def report(results: dict[str, Sample]) -> str:
    first = {kind: results.get(f"{kind}: 1 mm, torch") for kind in ("ready", "command")}
    headers = ["", "model", "median s", "min to max", "to 1 mm torch", "peak MB", *PARTS, "rest"]
    rows = []
    for name, sample in results.items():
        kind, model = name.split(": ")
        reference = first[kind]
        shares = [sample.more(part) / sample.median for part in PARTS] if sample.extra else []
        rows.append(
            [
                kind,
                model,
                sample.median,
                sample.spread,
                reference.median / sample.median if reference else "",
                sample.peak / 1e6,
                *(f"{share:.0%}" for share in [*shares, 1 - sum(shares)] if shares),
                *([""] * (len(PARTS) + 1) if not shares else []),
            ]
        )
    return measuring.table(headers, rows)


def make(args: argparse.Namespace) -> Sample:
    """The models, and the case if none was given; what OpenVINO computes from is exported."""
    from examples import flair_model, write_case

    from TransferSegLib.engines import make_engine
    from TransferSegLib.model import save_model

    for spacing in (1, 2):
        model = flair_model(spacing)
        save_model(model, _model(args, spacing))
        if measuring.has("openvino") and any(
            measuring.wanted(f"{kind}: {spacing} mm, openvino", args) for kind in ("ready", "command")
        ):
            make_engine(model, "openvino")
    if args.case is None:
        write_case(_case(args), QUICK if args.quick else FULL)
    return Sample([], measuring.peak())


def segment_ready(args: argparse.Namespace, spacing: int, engine: str) -> Sample:
    import torch

    from TransferSegLib import inference
    from TransferSegLib.datasets import find_cases
    from TransferSegLib.preprocess import Pipeline

    torch.set_num_threads(args.threads)
    case = find_cases(_case(args)).cases[0]
    segmenter = inference.Segmenter(_model(args, spacing), inference.InferenceOptions(engine=engine, device="cpu"))
    places = [
        (inference, "load_case"),
        (Pipeline, "place"),
        (Pipeline, "sample"),
        (Pipeline, "scale"),
        (inference.Segmenter, "probability"),
        (inference, "labels_on"),
        (inference.Segmentation, "save"),
    ]
    spent: dict[str, list[float]] = {part: [] for part in PARTS}

    def run() -> None:
        segmenter(case).save(args.folder / "result.nii.gz")

    with contextlib.ExitStack() as stack:
        for part, (owner, name) in zip(PARTS, places, strict=True):
            stack.enter_context(_watched(owner, name, spent[part]))
        seconds = measuring.timed(run, args.repeat)
    return Sample(seconds, measuring.peak(), {part: times[1:] for part, times in spent.items()})  # the first warmed up


def segment_command(args: argparse.Namespace, spacing: int, engine: str) -> Sample:
    words: list[str | Path] = [sys.executable, "-m", "TransferSegLib", "segment", _case(args)]
    words += ["--model", _model(args, spacing), "--engine", engine, "--device", "cpu", "--out", args.folder / "out"]
    return measuring.command(words)


@contextlib.contextmanager
def _watched(owner: Any, name: str, seconds: list[float]) -> Iterator[None]:
    """Add to ``seconds`` how long each call of ``owner.name`` takes."""
    function = getattr(owner, name)

    @wraps(function)
    def watched(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds.append(time.perf_counter() - start)

    setattr(owner, name, watched)
    try:
        yield
    finally:
        setattr(owner, name, function)


def _case(args: argparse.Namespace) -> Path:
    return Path(args.case or args.folder / "case").absolute()


def _model(args: argparse.Namespace, spacing: int) -> Path:
    return Path(args.folder / f"model-{spacing}")


if __name__ == "__main__":
    main()
