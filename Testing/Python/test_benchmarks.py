"""The benchmarks run: each in its smallest form gives a table of sensible numbers."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="the benchmarks measure memory as Linux and macOS tell it")

BENCHMARKS = Path(__file__).parents[2] / "Benchmarks"


def run(script: str, *options: str) -> list[dict[str, str]]:
    """The rows of the table, each as column to cell."""
    (rows,) = tables(script, *options)
    return rows


def tables(script: str, *options: str) -> list[list[dict[str, str]]]:
    """The same of each table."""
    words = [sys.executable, str(BENCHMARKS / script), "--quick", "--threads", "1", *options]
    output = subprocess.run(words, capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr[-3000:]
    found = []
    for is_table, group in groupby(output.stdout.splitlines(), lambda line: line[:1] == "|"):
        if is_table:
            headers, _, *lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in group]
            found.append([dict(zip(headers, cells, strict=True)) for cells in lines])
    return found


def numbers(rows: list[dict[str, str]], *columns: str) -> list[float]:
    return [float(row[column].replace(",", "")) for row in rows for column in columns]


def is_positive(values: list[float]) -> bool:
    return all(math.isfinite(value) and value > 0 for value in values)


def test_forward_compares_our_engines_with_plain_pytorch_and_monai() -> None:
    rows = run("forward.py", "--in-process")
    names = [row[""] for row in rows]
    assert len(rows) >= 5
    assert {"ours", "MONAI BasicUNet", "plain PyTorch"} <= {name.split(",")[0] for name in names}
    assert is_positive(numbers(rows, "median s", "faster", "peak MB", "less memory"))
    ours = [row for row in rows if row[""].startswith("ours")]
    assert is_positive(numbers(ours, "estimate"))
    assert max(numbers(ours, "largest difference of logits")) < 0.05
    exact = [row for row in ours if "float32" in row[""]]
    assert max(numbers(exact, "largest difference of logits")) < 1e-4


def test_each_measurement_can_have_a_process_of_its_own() -> None:
    rows = run("forward.py", "--only", "plain")
    assert [row[""] for row in rows] == ["plain PyTorch, contiguous, float32"]
    assert is_positive(numbers(rows, "median s", "peak MB"))


def test_training_step_covers_strategies_and_precisions() -> None:
    rows = run("training_step.py", "--in-process")
    steps = {row["step"] for row in rows}
    assert steps == {
        "MONAI BasicUNet, float32",
        *(f"{how}, {kind}" for how in ("all", "decoder", "last-three") for kind in ("float32", "bfloat16")),
    }
    assert is_positive(numbers(rows, "median s", "faster", "peak MB", "less memory"))
    assert is_positive(numbers([row for row in rows if row["estimate"]], "estimate"))


def test_segment_tells_where_the_time_goes() -> None:
    rows = run("segment.py", "--in-process", "--only", "torch")
    assert [(row[""], row["model"]) for row in rows] == [
        (kind, f"{spacing} mm, torch") for kind in ("ready", "command") for spacing in (1, 2)
    ]
    assert is_positive(numbers(rows, "median s", "to 1 mm torch", "peak MB"))
    parts = ("read", "place", "sample", "scale", "network", "back to the grid", "write", "rest")
    for row in rows[:2]:
        shares = [float(row[part].rstrip("%")) for part in parts]
        assert all(share >= 0 for share in shares)
        assert sum(shares) == pytest.approx(100, abs=3)


def test_startup_is_told_in_multiples_of_python() -> None:
    rows = run("startup.py", "--only", "pass|help")
    assert [row[""] for row in rows] == ["python -c pass", "transferseg --help"]
    assert is_positive(numbers(rows, "median s", "times Python", "peak MB"))


def test_preprocess_tells_where_the_time_of_a_raw_case_goes() -> None:
    rows, parts = tables("preprocess.py", "--in-process", "--only", "^ours$")
    assert [row[""] for row in rows] == ["ours"]
    assert is_positive(numbers(rows, "median s", "time to ours", "peak MB", "memory to ours", "brain ml"))
    assert numbers(rows, "Dice")[0] > 0.9
    n4 = [f"N4 {channel}" for channel in ("t1", "flair")]
    names = ["read", "align", "brain", *n4, "to template", "sample", "scale", "write", "rest"]
    assert [row["part"] for row in parts] == names
    assert is_positive(numbers(parts[:-1], "ours, s"))
    assert sum(float(row["share of ours"].rstrip("%")) for row in parts) == pytest.approx(100, abs=5)


def test_workforce_compares_one_process_with_several_and_hands_out_empty_jobs() -> None:
    segmenting, handing_out = tables("workforce.py", "--in-process", "--only", "1 thread$|no work")
    assert [row[""] for row in segmenting] == ["here, 1 thread", "1 worker of 1 thread", "2 workers of 1 thread"]
    assert is_positive(numbers(segmenting, "a case, median s", "time to 1 thread here", "in all, s"))
    assert [row[""] for row in handing_out] == ["no work, here", "no work, 2 workers"]
    assert is_positive(numbers(handing_out, "a job, median ms", "in all, s"))
