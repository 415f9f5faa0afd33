"""How the benchmarks measure: each thing in a fresh process, all in turns, and told as ratios.

A script names its setups: name to a function that prepares, warms up, measures, and returns a :class:`Sample`. It calls
:func:`measure`, which starts the script again for each of them, A B C A B C, so that a minute in which the machine is
slow is slow for all. Nothing heavy is imported here or at the top of a script: on Linux the peak memory of a process is
never below that of the process that started it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


@dataclass(frozen=True)
class Sample:
    """What one process measured.

    Attributes
    ----------
    seconds : one for each repetition.
    peak : bytes of memory of the whole process.
    extra : more numbers, one for each repetition or one in all.
    """

    seconds: list[float]
    peak: int
    extra: dict[str, list[float]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Seconds."""
        return median(self.seconds)

    @property
    def spread(self) -> str:
        """Shortest and longest repetition in seconds."""
        return f"{min(self.seconds):.3g} to {max(self.seconds):.3g}"

    def more(self, name: str) -> float:
        """The median of one of ``extra``."""
        return median(self.extra[name])


Setups = Mapping[str, Callable[[], Sample]]


def options(purpose: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=purpose.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, once: only to see that everything runs")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="processor cores to use; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each row")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions in each process, after one to warm up")
    parser.add_argument("--only", default="", help="only rows whose name matches this regular expression")
    parser.add_argument("--in-process", action="store_true", help="no fresh processes; peak memory then means nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser


def parse(parser: argparse.ArgumentParser, folder: str) -> argparse.Namespace:
    """The options; ``folder`` is for what the processes share. From here on this process uses ``threads`` cores."""
    args = parser.parse_args()
    args.folder = Path(args.folder or folder)
    if args.quick:
        args.rounds = args.repeat = 1
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(args.threads)
    os.environ["TRANSFERSEG_CACHE"] = str(args.folder / "cache")
    return args


def measure(setups: Setups, args: argparse.Namespace) -> dict[str, Sample]:
    """Run the chosen setups in turns; in a child process: run the one that was asked for and end."""
    if args.child is not None:
        if args.child in setups:
            print(json.dumps(asdict(setups[args.child]())))
            sys.exit()
        return {}
    chosen = [name for name in setups if wanted(name, args)]
    found: dict[str, list[Sample]] = {name: [] for name in chosen}
    for number in range(args.rounds):
        for name in chosen:
            print(f"round {number + 1}: {name}", file=sys.stderr)
            found[name].append(setups[name]() if args.in_process else _in_child(name, args))
    return {name: _together(samples) for name, samples in found.items()}


def wanted(name: str, args: argparse.Namespace) -> bool:
    """Whether ``--only`` lets the row ``name`` through."""
    return re.search(args.only, name) is not None


def measure_once(name: str, setup: Callable[[], Sample], args: argparse.Namespace) -> Sample:
    """One setup, once, whatever rows were chosen: what the others need or are compared with."""
    once = argparse.Namespace(**{**vars(args), "rounds": 1, "only": ""})
    return measure({name: setup}, once).get(name, Sample([], 0))


def timed(work: Callable[[], Any], repeat: int) -> list[float]:
    """Seconds of each of ``repeat`` calls, after one to warm up."""
    work()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def command(words: Sequence[str | Path]) -> Sample:
    """Seconds and peak memory of a command, from its start to its end."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in words], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} failed.")
    return Sample([seconds], _bytes(usage))


def peak() -> int:
    """Bytes of memory that this process had at most so far."""
    return _bytes(resource.getrusage(resource.RUSAGE_SELF))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers with three digits."""
    lines = [headers, ["---"] * len(headers), *([_shown(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(args: argparse.Namespace) -> str:
    """What the numbers belong to, in one line, and whether the machine had something else to do."""
    parts = [f"{_processor()}, {args.threads} of {os.cpu_count()} cores, {platform.system()}"]
    parts += [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "openvino", "monai") if has(name)]
    load = os.getloadavg()[0]
    busy = f" **The machine was busy: load {load:.1f} before the start.**" if load > 0.3 and args.child is None else ""
    return ", ".join(parts) + "." + busy + "\n"


def has(package: str) -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec(package) is not None


def _in_child(name: str, args: argparse.Namespace) -> Sample:
    words = [sys.executable, *sys.argv, "--child", name, "--folder", str(args.folder)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{name} failed:\n{result.stderr[-3000:]}")
    return Sample(**json.loads(result.stdout.splitlines()[-1]))


def _together(samples: Sequence[Sample]) -> Sample:
    names = samples[0].extra
    return Sample(
        [second for sample in samples for second in sample.seconds],
        max(sample.peak for sample in samples),
        {name: [value for sample in samples for value in sample.extra[name]] for name in names},
    )


def _bytes(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
