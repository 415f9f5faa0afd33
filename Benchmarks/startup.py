"""How long `transferseg --help` and `import TransferSegLib` take, beside Python alone and `import monai`."""

from __future__ import annotations

import sys
import tempfile
from functools import partial

import measuring
from measuring import Sample

PYTHON = "python -c pass"
COMMANDS = {
    PYTHON: ("-c", "pass"),
    "import TransferSegLib": ("-c", "import TransferSegLib"),
    "transferseg --help": ("-m", "TransferSegLib", "--help"),
    "import torch": ("-c", "import torch"),
    "import monai": ("-c", "import monai"),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        parser = measuring.options(__doc__ or "")
        parser.set_defaults(rounds=10, in_process=True)  # each command is a fresh process already
        args = measuring.parse(parser, folder)
        setups = {name: partial(measuring.command, [sys.executable, *words]) for name, words in COMMANDS.items()}
        if not args.quick:
            measuring.measure(setups, args)  # so that all files are in memory
        results = measuring.measure(setups, args)
        print(measuring.machine(args))
        print(report(results))


def report(results: dict[str, Sample]) -> str:
    rows = []
    for name, sample in results.items():
        ratios = [
            sample.median / results[other].median if other in results else "" for other in (PYTHON, "import monai")
        ]
        rows.append([name, sample.median, sample.spread, *ratios, sample.peak / 1e6])
    return measuring.table(["", "median s", "min to max", "times Python", "times monai", "peak MB"], rows)


if __name__ == "__main__":
    main()
