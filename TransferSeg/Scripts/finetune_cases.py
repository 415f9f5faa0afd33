"""Adapt a model to annotated cases with Slicer, without its window.

Slicer --no-splash --no-main-window --python-script finetune_cases.py my_cases --source ms-lesion --out runs/first

Takes what ``transferseg finetune`` takes. With ``--install`` the new model is put into the list of models, so that the
module offers it. Exit codes: 0 done, 2 bad usage or input, 3 canceled, 4 out of memory or disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

# In the source tree the library stands beside the module's folder, once installed in it.
MODULE = Path(__file__).resolve().parents[1]
sys.path += [str(MODULE), str(MODULE.parent)]

from TransferSegBridge.batch import failed, main, parser, runCommand  # noqa: E402


def work() -> int:
    """Fine-tune as the command line says; the exit code."""
    options = parser(str(__doc__).splitlines()[0])
    options.add_argument("dataset", help="a folder in a known layout, or a manifest CSV")
    options.add_argument("--out", required=True, type=Path, help="folder for the run")
    options.add_argument("--install", action="store_true", help="put the new model into the list of models")
    given, more = options.parse_known_args()
    outcome = runCommand(["finetune", given.dataset, "--out", str(given.out), *more], given.quiet)
    if outcome.ok:
        for name, value in outcome.result.items():
            print(f"{name.replace('_', ' ')}: {value}", flush=True)
        if given.install:
            from TransferSegLib.registry import install_model

            print(f"installed: {install_model(given.out).name}", flush=True)
    return failed(outcome)


if __name__ == "__main__":
    main(work)
