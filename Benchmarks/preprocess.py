"""The whole pre-processing of a raw case: time, memory, where the time goes, and the same with other tools.

"ours" is a call of the library, "ours, command" is `transferseg preprocess` from its start to its end. Both align the
channels, find the brain by the template, take out the bias field, register to the template, sample at 1 mm, scale by
z-score and write. The rivals do the same with antspyx and its default settings, on the same template: "ANTs, BET" finds
the brain by brainextractor on voxels of 1 mm, "ANTs alone" by one more affine registration. As antspyx may bring
another numpy they run in an environment of their own, given by `--rival-python`:

    python -m venv rivals && rivals/bin/pip install antspyx brainextractor

Imports count in "ours, command" only. Nothing is warmed up: a case is prepared once. "brain ml", and "Dice" of the
brain brought to the template with the template's own, show whether a row found what it should.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial, wraps
from pathlib import Path
from statistics import median
from typing import Any

import measuring
from measuring import Sample

OURS, COMMAND = "ours", "ours, command"
_NO_RIVALS = "The rivals are left out: they need --rival-python, and no --quick."
OPTIONS = {"align": "auto", "brain": "template", "bias": "n4", "space": "mni", "normalise": "zscore"}

# The raw case that is made: voxels in mm, degrees by which the slices are turned, how the patient moved since the first
# image (mm, degrees), and the brightness of the brain as share of the template's largest value and of its own.
RAW: Mapping[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...], tuple[float, ...], float, float]] = {
    "t1": ((0.9, 0.9, 3.0), (4, 0, 2), (0, 0, 0), (0, 0, 0), 0.0, 1.0),
    "t1c": ((0.9, 0.9, 3.0), (4, 0, 2), (1.5, -1, 2), (2, -1, 1), 0.1, 1.0),
    "t2": ((0.6, 0.6, 3.3), (5, 1, 0), (-1, 2, 1), (-2, 1, 2), 1.1, -1.0),
    "flair": ((0.72, 0.72, 3.0), (3, 0, 2), (2, 1, -1.5), (1, 2, -2), 0.8, -0.4),
}
EXTENT_MM = (216.0, 240.0, 180.0)
# In small: two channels, voxels so many times as large, and a coarse working grid.
QUICK = {"t1": (6.0, 6.0, 2.0), "flair": (7.5, 7.5, 2.0)}
QUICK_MM = 4.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        parser = measuring.options(__doc__ or "")
        parser.add_argument("case", nargs="?", help="t1=FILE,t2=FILE,... or the folder of a case; default: one is made")
        parser.add_argument("--rival-python", help="Python that has antspyx and brainextractor; default: no rivals")
        parser.add_argument("--rival", choices=RIVALS, help=argparse.SUPPRESS)
        parser.set_defaults(repeat=1)
        args = measuring.parse(parser, folder)
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = str(args.threads)
        if args.rival is not None:
            print(json.dumps(asdict(rival_here(args))))
            return
        setups = {OURS: partial(ours, args), COMMAND: partial(ours_command, args)}
        rivals = RIVALS if args.rival_python and not args.quick else {}
        setups |= {name: partial(rival, args, name) for name in rivals}
        measuring.measure_once("make", partial(make, args), args)
        results = measuring.measure(setups, args)
        print(measuring.machine(args))
        print(_rival_versions(args) if rivals else _NO_RIVALS)
        print(f"\n{report(results)}\n\n{report_parts(results)}")


def report(results: Mapping[str, Sample]) -> str:
    """What each row takes in all."""
    first = results.get(OURS)
    headers = ["", "median s", "min to max", "time to ours", "peak MB", "memory to ours", "brain ml", "Dice"]
    rows = [
        [
            name,
            sample.median,
            sample.spread,
            sample.median / first.median if first else "",
            sample.peak / 1e6,
            sample.peak / first.peak if first else "",
            *(sample.more(what) if what in sample.extra else "" for what in ("brain ml", "Dice")),
        ]
        for name, sample in results.items()
    ]
    return measuring.table(headers, rows)


def report_parts(results: Mapping[str, Sample]) -> str:
    """Where the time goes."""
    spent = {name: _parts_of(sample) for name, sample in results.items() if sample.extra}
    first = spent.get(OURS)
    others = [name for name in spent if name != OURS] if first else []
    headers = ["part", *(f"{name}, s" for name in spent), "share of ours", *(f"{name} to ours" for name in others)]
    rows = []
    for part in next(iter(spent.values()), {}):
        own = first[part] if first else 0.0
        share = f"{own / sum(first.values()):.0%}" if first else ""
        ratios = [spent[name][part] / own if own else "" for name in others]
        rows.append([part, *(times[part] for times in spent.values()), share, *ratios])
    return measuring.table(headers, rows)


def _parts_of(sample: Sample) -> dict[str, float]:
    """Median seconds by part; the rest is what is left of the whole."""
    parts = {name: median(times) for name, times in sample.extra.items() if name not in ("brain ml", "Dice")}
    return {**parts, "rest": max(0.0, sample.median - sum(parts.values()))}


class Clock:
    """Seconds of each part of the chain, by repetition."""

    def __init__(self, channels: Sequence[str]) -> None:
        n4 = [f"N4 {channel}" for channel in channels]
        parts = ("read", "align", "brain", *n4, "to template", "sample", "scale", "write")
        self.parts: dict[str, list[float]] = {part: [] for part in parts}

    def timed(self, work: Callable[[], object], repeat: int) -> list[float]:
        """Seconds of each of ``repeat`` calls."""
        seconds = []
        for _ in range(repeat):
            for times in self.parts.values():
                times.append(0.0)
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        return seconds

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What runs within it belongs to the part ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name][-1] += time.perf_counter() - start

    @contextlib.contextmanager
    def watched(self, owner: Any, name: str, parts: Iterator[str], keep: list[Any] | None = None) -> Iterator[None]:
        """Each call of ``owner.name`` belongs to the next of ``parts``; its result is appended to ``keep``."""
        function = getattr(owner, name)

        @wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            with self.part(next(parts)):
                result = function(*arguments, **named)
            if keep is not None:
                keep.append(result)
            return result

        setattr(owner, name, watched)
        try:
            yield
        finally:
            setattr(owner, name, function)


def make(args: argparse.Namespace) -> Sample:
    """The case if none was given; and a list of its files, which the rivals can read too."""
    from TransferSegLib.datasets import parse_case

    if args.case is None:
        files = write_raw_case(args.folder / "raw", args.quick)
    else:
        files = dict(parse_case(args.case).cases[0].channels)
    found = {channel: str(Path(path).absolute()) for channel, path in files.items()}
    _list(args).write_text(json.dumps(found), encoding="utf-8")
    return Sample([], measuring.peak())


def write_raw_case(folder: Path, quick: bool) -> dict[str, Path]:
    """A head as a scanner gives it: thick slices, a grid for each channel, a coil's shade, noise, a patient who moves.

    It is the template's brain within a skull and a scalp.
    """
    import numpy as np
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    from TransferSegLib.grid import Grid
    from TransferSegLib.preprocess.template import load_template
    from TransferSegLib.resample import resample
    from TransferSegLib.volume import Volume, write_volume

    def turned(degrees: Sequence[float], shift: Sequence[float], stretch: Sequence[float] = (1, 1, 1)) -> Any:
        result = np.eye(4)
        result[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(stretch)
        result[:3, 3] = shift
        return result

    t1 = load_template().t1
    brain = t1.data > 0
    away = ndimage.distance_transform_edt(~brain, t1.grid.spacing)
    brightest = float(t1.data.max())
    patient = turned((6, -3, 4), (4, -12, 20), (0.93, 0.91, 0.95))
    middle = (patient @ [0, -18, 10, 1])[:3]
    random = np.random.default_rng(0)
    files = {}
    for channel in QUICK if quick else RAW:
        spacing, tilt, shift, turn, offset, share = RAW[channel]
        sides = np.multiply(spacing, QUICK[channel] if quick else 1.0)
        shape = np.rint(np.array(EXTENT_MM) / sides).astype(int)
        affine = turned(tilt, (0, 0, 0)) @ np.diag([*sides * (-1, -1, 1), 1.0])
        affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
        grid = Grid(tuple(shape.tolist()), affine)
        tissue = np.where(brain, offset * brightest + share * t1.data, 0)
        head = np.where((away > 6) & (away < 12), 0.8 * brightest, tissue).astype(np.float32)
        placed = Grid(t1.grid.shape, turned(turn, shift) @ patient @ t1.grid.affine)
        i, j, k = (np.linspace(-0.2, 0.2, side) for side in grid.shape)
        shade = np.exp(i[:, None, None] - j[:, None] + k)
        values = resample(head, placed, grid) * shade + random.normal(0, 0.03 * brightest, grid.shape)
        scaled = np.abs(values) * (1000 / brightest)
        files[channel] = write_volume(Volume(scaled.astype(np.int16), grid), folder / f"raw_{channel}.nii.gz")
    return files


def ours(args: argparse.Namespace) -> Sample:
    import torch

    from TransferSegLib import prepare
    from TransferSegLib.case_files import CaseFiles
    from TransferSegLib.preparation import Preparation
    from TransferSegLib.preprocess import Pipeline
    from TransferSegLib.preprocess.align import Align
    from TransferSegLib.preprocess.brain import FindBrain
    from TransferSegLib.preprocess.n4 import CorrectBias
    from TransferSegLib.preprocess.template import load_template
    from TransferSegLib.preprocess.to_template import ToTemplate, brain_dice
    from TransferSegLib.volume import read_volume

    torch.set_num_threads(args.threads)
    files = _files(args)
    channels = tuple(files)
    case = CaseFiles("case", files)
    preparation = Preparation(spacing=_spacing(args), **OPTIONS)
    out = args.folder / "ours"
    clock = Clock(channels)
    matrices: list[Any] = []
    places: list[tuple[Any, str, Sequence[str], list[Any] | None]] = [
        (prepare, "load_case", ["read"], None),
        (Align, "apply", ["align"], None),
        (FindBrain, "apply", ["brain"], None),
        (CorrectBias, "apply", [f"N4 {channel}" for channel in channels], None),
        (ToTemplate, "apply", ["to template"], matrices),
        (Pipeline, "sample", ["sample"], None),
        (Pipeline, "scale", ["scale"], None),
        (prepare, "write_volume", ["write"], None),
    ]

    def run() -> None:
        failed = prepare.prepare_images(lambda _: [case], out, None, channels, preparation=preparation)
        if failed:
            raise SystemExit(f"The case cannot be prepared: {failed['case']}")

    with contextlib.ExitStack() as stack:
        for owner, name, parts, keep in places:
            stack.enter_context(clock.watched(owner, name, itertools.cycle(parts), keep))
        seconds = clock.timed(run, args.repeat)
    peak = measuring.peak()
    brain = read_volume(out / "case" / "brain.nii.gz")
    dice = brain_dice(matrices[-1], brain.grid, brain.data > 0, load_template())
    volume = float(brain.data.sum()) * brain.grid.voxel_ml
    return Sample(seconds, peak, {**clock.parts, "brain ml": [volume], "Dice": [dice]})


def ours_command(args: argparse.Namespace) -> Sample:
    case = ",".join(f"{channel}={path}" for channel, path in _files(args).items())
    words: list[str | Path] = [sys.executable, "-m", "TransferSegLib", "preprocess", f"name=case,{case}"]
    words += ["--channels", ",".join(_files(args)), "--out", args.folder / "command"]
    words += ["--spacing", str(_spacing(args))]
    words += [word for name, value in OPTIONS.items() for word in (f"--{name}", value)]
    return measuring.command(words)


def rival(args: argparse.Namespace, name: str) -> Sample:
    """The row ``name``, measured by the rivals' Python."""
    words = [args.rival_python, *sys.argv, "--rival", name, "--folder", str(args.folder)]
    result = subprocess.run(words, capture_output=True, text=True, check=False, env=_rival_environment())
    if result.returncode:
        raise SystemExit(f"{name} failed:\n{result.stderr[-3000:]}")
    return Sample(**json.loads(result.stdout.splitlines()[-1]))


def rival_here(args: argparse.Namespace) -> Sample:
    """The same in this process: nothing of TransferSegLib is imported here, only its template is read."""
    import ants
    import numpy as np

    files = _files(args)
    first = next(channel for channel in ("t1", "t1c", "flair", "t2", *files) if channel in files)
    out = args.folder / args.rival
    clock = Clock(tuple(files))
    found = {}

    def run() -> None:
        with clock.part("read"):
            images = {channel: ants.image_read(str(path)) for channel, path in files.items()}
            t1, brain = (ants.image_read(str(_TEMPLATES / f"icbm152_{name}.nii.gz")) for name in ("t1", "brain"))
        with clock.part("align"):
            moves = {
                channel: ants.registration(images[first], image, "Rigid")["fwdtransforms"]
                for channel, image in images.items()
                if channel != first
            }
        with clock.part("brain"):
            mask = RIVALS[args.rival](images[first], t1, brain)
        even = {}
        for channel, image in images.items():
            inside = mask if channel == first else _back(image, mask, moves[channel])
            with clock.part(f"N4 {channel}"):
                even[channel] = ants.n4_bias_field_correction(image, mask=inside)
        with clock.part("to template"):
            placed = ants.registration(t1, even[first] * mask, "Affine")["fwdtransforms"]
        with clock.part("sample"):
            seen = ants.apply_transforms(brain, mask, placed, "nearestNeighbor")
            box = ants.crop_image(seen, seen, 1)
            sampled = {}
            for channel, image in even.items():
                there = ants.apply_transforms(brain, image, [*placed, *moves.get(channel, [])])
                sampled[channel] = ants.crop_image(there, seen, 1)
        scaled = {}
        with clock.part("scale"):
            where = box.numpy() > 0
            for channel, image in sampled.items():
                values = image.numpy()
                limited = np.clip((values - values[where].mean()) / values[where].std(), -5, 5)
                scaled[channel] = image.new_image_like(np.where(where, limited, 0).astype(np.float32))
        with clock.part("write"):
            out.mkdir(exist_ok=True)
            for name, image in {**scaled, "brain": box.clone("unsigned char")}.items():
                ants.image_write(image, str(out / f"{name}.nii.gz"))
        both = np.count_nonzero((seen.numpy() > 0) & (brain.numpy() > 0))
        found["Dice"] = 2 * both / (np.count_nonzero(seen.numpy()) + np.count_nonzero(brain.numpy()))
        found["brain ml"] = float(np.count_nonzero(mask.numpy())) * float(np.prod(mask.spacing)) / 1000

    seconds = clock.timed(run, args.repeat)
    return Sample(seconds, measuring.peak(), {**clock.parts, **{name: [value] for name, value in found.items()}})


def _brain_by_bet(image: Any, t1: Any, brain: Any) -> Any:
    """On voxels of 1 mm: on others brainextractor fails."""
    import ants
    import nibabel as nib
    import numpy as np
    from brainextractor import BrainExtractor

    cubes = ants.resample_image(image, (1.0, 1.0, 1.0), False, 0)
    tool = BrainExtractor(img=nib.Nifti1Image(cubes.numpy(), np.eye(4)))
    with contextlib.redirect_stdout(sys.stderr):
        tool.run()
    mask = cubes.new_image_like(np.asarray(tool.compute_mask()).astype(np.float32))
    return ants.resample_image_to_target(mask, image, "nearestNeighbor")


def _brain_by_registration(image: Any, t1: Any, brain: Any) -> Any:
    """The template's own mask, laid into the head by an affine map. What is far from it does not count."""
    import ants

    coarse = ants.resample_image_to_target(brain, t1, "nearestNeighbor")
    found = ants.registration(t1, image, "Affine", mask=ants.iMath(coarse, "MD", 4))
    return _back(image, brain, found["fwdtransforms"])


# How each rival finds the brain: from the image, and the template and its brain, to a mask on the image's grid.
RIVALS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "ANTs, BET": _brain_by_bet,
    "ANTs alone": _brain_by_registration,
}
_TEMPLATES = measuring.ROOT / "TransferSegLib" / "templates"


def _back(image: Any, mask: Any, transforms: Sequence[str]) -> Any:
    """``mask`` on the grid of ``image``, which ``transforms`` bring to where the mask is."""
    import ants

    return ants.apply_transforms(image, mask, transforms, "nearestNeighbor", whichtoinvert=[True] * len(transforms))


def _rival_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _rival_versions(args: argparse.Namespace) -> str:
    names = ("antspyx", "brainextractor", "numpy")
    code = f"from importlib.metadata import version; print(', '.join(f'{{n}} {{version(n)}}' for n in {names}))"
    words = [args.rival_python, "-c", code]
    return f"Rivals: {subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()}."


def _spacing(args: argparse.Namespace) -> float:
    return QUICK_MM if args.quick else 1.0


def _list(args: argparse.Namespace) -> Path:
    return Path(args.folder / "case.json")


def _files(args: argparse.Namespace) -> dict[str, Path]:
    """Channel to image, in the order of the case."""
    return {channel: Path(path) for channel, path in json.loads(_list(args).read_text(encoding="utf-8")).items()}


if __name__ == "__main__":
    main()
