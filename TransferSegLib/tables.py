"""Small tables: reading those that people make, with commas, semicolons or tabs, and writing our own."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import InputError
from .files import atomic_path

Row = dict[str, str]


def read_table(path: Path) -> tuple[list[str], list[tuple[int, Row]]]:
    """The columns in lower case, and each row that is not empty with its number, the header's being 1.

    Raises
    ------
    InputError : the file is not UTF-8 text, a column stands there twice, or a row is longer than the header.
    """
    try:
        text = path.read_text("utf-8-sig")
        header = text.split("\n", 1)[0]
        reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=header.count))
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a text file in UTF-8.", "Save it as 'CSV UTF-8'.") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    columns = [cell.lower() for cell in lines[0][1]] if lines else []
    twice = sorted({column for column in columns if column and columns.count(column) > 1})
    if twice:
        raise InputError(f"{path} has the column '{twice[0]}' twice.", "Remove or rename one.")
    rows = []
    for number, cells in lines[1:]:
        if any(cells[len(columns) :]):
            raise InputError(
                f"Row {number} of {path} has more cells than the first row has columns.",
                "Put quotation marks around a cell that holds the separator.",
            )
        cells += [""] * (len(columns) - len(cells))
        rows.append((number, {column: cell for column, cell in zip(columns, cells, strict=False) if column}))
    return columns, rows


def write_table(header: Sequence[str], lines: Iterable[Sequence[object]], path: str | Path) -> Path:
    """Write a CSV file, whole or not at all; numbers with six digits, NaN as an empty cell.

    Raises
    ------
    InputError : the folder cannot be written.
    ResourceError : the disk is full.
    """
    path = Path(path)
    with atomic_path(path) as beside, open(beside, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_text(value) for value in line] for line in lines)
    return path


def _text(value: object) -> str:
    """Six digits are more than a label map can tell; NaN is an empty cell."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
