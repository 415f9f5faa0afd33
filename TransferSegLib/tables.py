"""Reading small tables that people make: CSV with commas, semicolons or tabs, from a spreadsheet or by hand."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from .errors import InputError

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
