"""Finds cases on disk: BraTS, nnU-Net and MSD, BIDS, a manifest CSV, or plain folders of case folders."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case_files import CHANNELS, CaseFiles
from .errors import InputError
from .files import atomic_path
from .formats import ending, stem
from .grid import Grid
from .labels import GLIOMA, GLIOMA_SINCE_2023, LabelScheme
from .naming import (
    as_channel,
    bids_channel,
    common_name,
    find_channel,
    is_bids_label,
    is_brain_mask,
    is_label,
    patient_of,
)
from .naming import guess_channel as guess_channel
from .nnunet import read_nnunet_info
from .tables import Row, read_table
from .volume import Volume, write_volume

# The files of a case by channel, and its label map and its brain mask under these keys.
Found = dict[str, Path]
_LABEL, _BRAIN = "label", "brain"
_NO_CHANNELS = {_LABEL, _BRAIN}
_TABLES = (".csv", ".tsv", ".txt")
_OTHER_COLUMNS = ("case", "group", "patient")  # of a manifest

# How deep below the dataset's folder a case folder may lie: BraTS has HGG/CASE inside one or two unpacked folders.
_DEPTH = 4

_BRATS_NAMES = {"t1c": "t1ce"}  # channels that have another name in BraTS 2018

_COLUMNS = "case,t1,t1c,t2,flair,label,brain,group"


@dataclass(frozen=True)
class Dataset:
    """Cases on disk.

    Attributes
    ----------
    root : the folder, or the manifest CSV.
    layout : ``"brats"``, ``"nnunet"``, ``"bids"``, ``"manifest"``, ``"folders"``, or ``"files"`` for one case that was
        given file by file.
    cases : sorted by name.
    scheme : what the layout says that the values of the label maps mean; None: it says nothing.

    Raises
    ------
    InputError : two cases have the same name.
    """

    root: Path
    layout: str
    cases: tuple[CaseFiles, ...]
    scheme: LabelScheme | None = None

    def __post_init__(self) -> None:
        seen: dict[str, CaseFiles] = {}
        for case in self.cases:
            # Results are named after cases, and Windows and macOS do not tell upper from lower case.
            other = seen.setdefault(case.name.casefold(), case)
            if other is not case:
                first, second = (next(iter(files.channels.values())) for files in (other, case))
                raise InputError(
                    f"Two cases have the name '{case.name}': one has {first}, the other {second}.",
                    "Rename one, or list the cases in a manifest CSV.",
                )
        object.__setattr__(self, "cases", tuple(sorted(self.cases, key=lambda case: case.name)))

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[CaseFiles]:
        return iter(self.cases)

    def select(self, names: Iterable[str]) -> Dataset:
        """The dataset with the cases of these names only.

        Raises
        ------
        InputError : a name is unknown.
        """
        wanted = set(names)
        unknown = sorted(wanted - {case.name for case in self.cases})
        if unknown:
            raise InputError(f"{self.root} has no case {', '.join(unknown)}.", "Check the names.")
        return replace(self, cases=tuple(case for case in self.cases if case.name in wanted))


def find_cases(path: str | Path, channels: Sequence[str] = CHANNELS) -> Dataset:
    """Recognise the layout of a folder or manifest CSV and find its cases.

    Parameters
    ----------
    channels : the ones to look for where file names tell the channel; a name beyond t1, t1c, t2, flair must stand in
        the file name as it is. nnU-Net and a manifest name their channels themselves: all are found.

    Raises
    ------
    InputError : the path is missing or unreadable, no case is found, two cases have one name, two files claim one
        channel, or the dataset.json or manifest is not valid.
    """
    root = Path(os.path.abspath(os.path.expanduser(path)))
    with _reading(root):
        root.stat()
        if not root.is_dir():
            dataset = _read_manifest(root)
        elif (root / "imagesTr").is_dir() or (root / "imagesTs").is_dir():
            dataset = _read_nnunet(root)
        elif subjects := _bids_subjects(root):
            dataset = _read_bids(root, subjects, channels)
        else:
            dataset = _read_folders(root, channels)
    if not dataset.cases:
        raise InputError(
            f"No case was found in {root}.",
            f"Give a folder of case folders whose file names tell the channel ({', '.join(channels)}), a folder in the "
            f"layout of BraTS, nnU-Net or BIDS, or a manifest CSV with the columns {_COLUMNS}.",
        )
    return dataset


def write_case(folder: Path, grid: Grid, channels: Mapping[str, NDArray[Any]], codes: NDArray[np.uint8]) -> None:
    """Write a case in the layout of BraTS 2018, whole or not at all; the folder gives its name.

    Parameters
    ----------
    channels : channel name to (i, j, k) values.
    codes : (i, j, k) values of the label map, as :meth:`LabelScheme.decode` makes them.

    Raises
    ------
    InputError : the folder cannot be written.
    ResourceError : the disk is full.
    """
    with atomic_path(folder) as beside:
        for channel, image in channels.items():
            file = f"{folder.name}_{_BRATS_NAMES.get(channel, channel)}.nii.gz"
            write_volume(Volume(image, grid), beside / file)
        write_volume(Volume(codes, grid), beside / f"{folder.name}_seg.nii.gz")


def parse_case(text: str, channels: Sequence[str] = CHANNELS) -> Dataset:
    """Read the argument CASE of the command: a path for :func:`find_cases`, or ``t1=a.nii.gz,t1c=b.nii.gz,...``.

    Besides channels there may be ``label=``, ``brain=`` (a mask of the brain) and ``name=``. Without a name the case is
    called after what the names of its files share, or else after their folder.

    Raises
    ------
    InputError : a file is missing, a channel is given twice, or what :func:`find_cases` raises.
    """
    if not re.match(r"\s*\w+\s*=", text) or os.path.exists(text):
        return find_cases(text, channels)
    found: Found = {}
    name = ""
    # A comma belongs to the path unless a key follows it.
    for pair in re.split(r",(?=\s*\w+\s*=)", text):
        key, value = (part.strip() for part in pair.split("=", 1))
        if key.lower() == "name":
            name = value
        else:
            _claim(found, as_channel(key), _existing(Path(), value, f"In '{text}'"), text)
    if not set(found) - _NO_CHANNELS:
        raise InputError(f"'{text}' has no image.", "Give at least one channel, for instance t1=FILE.")
    case = _case(name or common_name(found.values()), found)
    return Dataset(Path(os.path.abspath(next(iter(case.channels.values())).parent)), "files", (case,))


# BraTS, or any folder of case folders, or one case folder


def _read_folders(root: Path, channels: Sequence[str]) -> Dataset:
    folders = list(_walk(root, channels, _DEPTH))
    grades: dict[str, str] = {}
    for folder in {folder.parent for folder, _ in folders}:
        grades |= _read_grades(folder / "name_mapping.csv")
    for folder, _ in folders:
        if folder.parent.name.upper() in ("HGG", "LGG"):
            grades[folder.name] = folder.parent.name.upper()
    cases = tuple(_case(folder.name, found, grades.get(folder.name, "")) for folder, found in folders)
    # Only data that is BraTS by name has its label values: "_seg" alone could as well be lesions of another disease.
    brats = all(case.name in grades or case.name.lower().startswith("brats") for case in cases)
    return Dataset(root, "brats" if brats else "folders", cases, _brats_scheme(cases) if brats else None)


def _brats_scheme(cases: Sequence[CaseFiles]) -> LabelScheme | None:
    """What the values mean; None when the pediatric or the radiotherapy challenge, or two years, give them others."""
    since_2023 = {bool(re.match(r"(?i)brats-", case.name)) for case in cases}
    if len(since_2023) > 1 or any(re.match(r"(?i)brats-(ped|men-rt)", case.name) for case in cases):
        return None
    return GLIOMA_SINCE_2023 if True in since_2023 else GLIOMA


def _walk(folder: Path, channels: Sequence[str], depth: int) -> Iterator[tuple[Path, Found]]:
    """Case folders at or below ``folder``, with their files."""
    files, folders = _list(folder)
    found = _read_case_folder(folder, files, folders, channels)
    if found:
        yield folder, found
    elif depth:
        for inner in folders:
            yield from _walk(inner, channels, depth - 1)


def _read_case_folder(folder: Path, files: list[Path], folders: list[Path], channels: Sequence[str]) -> Found:
    """The files of a case; empty when no file name tells a channel."""
    found: Found = {}
    labels, masks = [], []
    for file in _images(files):
        # The name of the case may hold a word that means something in the name of a file.
        name = re.sub(rf"^{re.escape(folder.name)}(?=[\W_])", "", stem(file))
        if is_label(name):
            labels.append(file)
        elif is_brain_mask(name):
            masks.append(file)
        elif channel := find_channel(name, channels):
            _claim(found, channel, file, folder.name)
    for inner in folders:
        if (channel := find_channel(inner.name, channels)) and (series := _series(inner)):
            _claim(found, channel, series, folder.name)
    if found:
        for file in labels:
            _claim(found, _LABEL, file, folder.name)
        for file in masks:
            found.setdefault(_BRAIN, file)  # of several masks one will do
    return found


def _series(folder: Path) -> Path | None:
    """What a folder named after a channel holds: its only image, or itself if it is a DICOM series, or None."""
    files, folders = _list(folder)
    images = _images(files)
    if folders or not files or len(images) > 1:
        return None
    return images[0] if images else folder


def _read_grades(path: Path) -> dict[str, str]:
    """Grade by case name from the ``name_mapping.csv`` of BraTS 2019 and 2020, which has the names of all years."""
    _, rows = read_table(path) if path.is_file() else ([], [])
    return {
        cell: row.get("grade", "") for _, row in rows for column, cell in row.items() if column.endswith("subject_id")
    }


# nnU-Net 1 and 2; MSD once its 4D files are split


def _read_nnunet(root: Path) -> Dataset:
    """Test images (imagesTs) count only when there are no others."""
    info = read_nnunet_info(root / "dataset.json")
    images = root / ("imagesTr" if (root / "imagesTr").is_dir() else "imagesTs")
    found: dict[str, Found] = {}
    for file in _list(images)[0]:
        if file.name.endswith(info.file_ending):
            case, channel = info.case_and_channel(file)
            _claim(found.setdefault(case, {}), channel, file, case)
    for case, files in found.items():
        label = root / images.name.replace("images", "labels") / f"{case}{info.file_ending}"
        if label.is_file():
            files[_LABEL] = label
    return Dataset(root, "nnunet", tuple(_case(case, files) for case, files in found.items()), info.scheme)


# BIDS


def _bids_subjects(root: Path) -> list[Path]:
    """The folders sub-* that hold anatomical images, or ``root`` itself if it is one."""
    folders = [root] if root.name.startswith("sub-") else _list(root)[1]
    subjects = [folder for folder in folders if folder.name.startswith("sub-")]
    return [subject for subject in subjects if any((visit / "anat").is_dir() for visit in _bids_visits(subject))]


def _bids_visits(subject: Path) -> list[Path]:
    return [subject, *(folder for folder in _list(subject)[1] if folder.name.startswith("ses-"))]


def _read_bids(root: Path, subjects: list[Path], channels: Sequence[str]) -> Dataset:
    top = subjects[0].parent
    groups = _read_groups(top / "participants.tsv")
    derivatives = _list(top / "derivatives")[1] if (top / "derivatives").is_dir() else []
    cases = []
    for subject in subjects:
        for visit in _bids_visits(subject):
            place = visit.relative_to(top)
            name = "_".join(place.parts)
            found: Found = {}
            for file in _bids_images(visit):
                if channel := bids_channel(stem(file), channels):
                    _claim(found, channel, file, name)
            for file in [file for folder in derivatives for file in _bids_images(folder / place)] if found else ():
                if is_bids_label(stem(file)):
                    _claim(found, _LABEL, file, name)
                elif is_brain_mask(stem(file)):
                    found.setdefault(_BRAIN, file)
            if found:
                cases.append(_case(name, found, groups.get(subject.name, ""), subject.name))
    return Dataset(root, "bids", tuple(cases))


def _bids_images(visit: Path) -> list[Path]:
    return _images(_list(visit / "anat")[0]) if (visit / "anat").is_dir() else []


def _read_groups(path: Path) -> dict[str, str]:
    """Stratum by subject from ``participants.tsv``."""
    _, rows = read_table(path) if path.is_file() else ([], [])
    groups = {}
    for _, row in rows:
        values = [row.get(column, "") for column in ("group", "grade", "diagnosis")]
        subject = row.get("participant_id", "").removeprefix("sub-")
        groups[f"sub-{subject}"] = next((value for value in values if value not in ("", "n/a")), "")
    return groups


# Manifest CSV


def _read_manifest(path: Path) -> Dataset:
    if path.suffix.lower() not in _TABLES:
        raise InputError(
            f"{path} is neither a folder nor a manifest CSV.", "Give single images as t1=FILE,t1c=FILE and so on."
        )
    columns, rows = read_table(path)
    channels = [column for column in columns if column and column not in (*_NO_CHANNELS, *_OTHER_COLUMNS)]
    if "case" not in columns or not channels:
        missing = "for a channel" if "case" in columns else "'case'"
        raise InputError(f"{path} has no column {missing}.", f"The first row names the columns: {_COLUMNS}.")
    cases = []
    for number, row in rows:
        where = f"Row {number} of {path}"
        if not row["case"]:
            raise InputError(f"{where} has no name in the column 'case'.", "Give each case a name of its own.")
        found: Found = {}
        for column in (*channels, *sorted(_NO_CHANNELS)):
            if row.get(column):
                _claim(
                    found,
                    as_channel(column),
                    _existing(path.parent, row[column], f"In row {number} of {path}"),
                    row["case"],
                )
        if not set(found) - _NO_CHANNELS:
            raise InputError(f"{where} has no image.", f"Fill in at least one of {', '.join(channels)}.")
        cases.append(_case(row["case"], found, row.get("group", ""), row.get("patient", "")))
    return Dataset(path, "manifest", tuple(cases))


def write_manifest(path: str | Path, cases: Iterable[CaseFiles]) -> Path:
    """Write a manifest CSV with absolute paths, in which :func:`find_cases` finds the same cases.

    Raises
    ------
    InputError : there is no case, two have one name, a name or path cannot stand in a table, or ``path`` cannot be
        written.
    ResourceError : the disk is full.
    """
    path = Path(path)
    if path.suffix.lower() not in _TABLES:
        raise InputError(f"{path} is no name of a manifest.", "Let it end in .csv.")
    rows = [_row(case) for case in Dataset(path, "manifest", tuple(cases)).cases]
    if not rows:
        raise InputError(f"There is no case to write into {path}.", "Give at least one.")
    used = {column for row in rows for column in row}
    channels = [*CHANNELS, *sorted(used - {*CHANNELS, *_NO_CHANNELS, *_OTHER_COLUMNS})]
    columns = [column for column in ("case", *channels, _LABEL, _BRAIN, "group", "patient") if column in used]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_path(path) as beside:
        beside.write_bytes(text.getvalue().encode())
    return path


def _row(case: CaseFiles) -> Row:
    """What the manifest says of a case: nothing that reading it would find out without being told.

    Raises
    ------
    InputError : the manifest would be read otherwise.
    """
    for channel in case.channels:
        reserved = channel in (*_NO_CHANNELS, *_OTHER_COLUMNS)
        if reserved or as_channel(channel) != channel or not _can_stand(channel) or re.search(r"[;\t\n]", channel):
            raise InputError(f"'{channel}' cannot be a channel of a manifest.", "Give it another name.")
    files = {**case.channels, _LABEL: case.label, _BRAIN: case.brain}
    row = {"case": case.name, **{key: os.path.abspath(file) for key, file in files.items() if file is not None}}
    if case.group:
        row["group"] = case.group
    if case.patient != patient_of(case.name):
        row["patient"] = case.patient
    for value in row.values():
        if not _can_stand(value):
            raise InputError(
                f"{value!r} of case '{case.name}' cannot stand in a table.",
                "Rename it: without a space at an end, and in letters of Unicode.",
            )
    return row


def _can_stand(text: str) -> bool:
    """Whether ``text`` comes back from a cell of a table as it is. The bytes of a name on Linux need not be UTF-8."""
    return text == text.strip() != "" and "\r" not in text and text == text.encode(errors="ignore").decode()


# What all layouts need


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the operating system says into an error with a remedy."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{where} does not exist.", "Check the path.") from error
        if isinstance(error, PermissionError):
            raise InputError(f"{where} cannot be read: no permission.", "Change its permissions.") from error
        raise InputError(f"{where} cannot be read: {error.strerror or error}.", "Check the path.") from error


def _list(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders in a folder, each sorted by name, without hidden ones and what macOS adds."""
    with os.scandir(folder) as entries:
        seen = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith((".", "__MACOSX")))
    return [folder / name for name, is_dir in seen if not is_dir], [folder / name for name, is_dir in seen if is_dir]


def _images(files: list[Path]) -> list[Path]:
    """The image files. Of a pair of header and data (.hdr and .img) the header stands for both."""
    return [
        file for file in files if ending(file) and not (ending(file) == ".img" and file.with_suffix(".hdr") in files)
    ]


def _claim(found: Found, key: str, file: Path, case: str) -> None:
    if key in found:
        raise InputError(
            f"Case '{case}' has two files for '{key}': {found[key]} and {file}.",
            "Keep one, give each case a folder of its own, or list the cases in a manifest CSV.",
        )
    found[key] = file


def _existing(folder: Path, text: str, where: str) -> Path:
    """The path that ``text`` means, seen from ``folder``. A manifest made on Windows has backslashes."""
    if not text:
        raise InputError(f"{where} a file is missing after '='.", "Write the key and its file, for instance t1=FILE.")
    paths = [folder / os.path.expanduser(item) for item in (text, text.replace("\\", "/"))]
    for path in paths:
        if os.path.exists(path):
            return path
    raise InputError(f"{where}, {paths[0]} does not exist.", "Check the path.")


def _case(name: str, found: Found, group: str = "", patient: str = "") -> CaseFiles:
    channels = {channel: file for channel, file in found.items() if channel not in _NO_CHANNELS}
    return CaseFiles(name, channels, found.get(_LABEL), group, patient or patient_of(name), found.get(_BRAIN))
