"""Pairing: which reference belongs to which predicted label file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import InputError
from .events import OnEvent, Warning, ignore
from .formats import ending, stem

# What label files carry after the name of their case: a reference "a-seg.nii.gz" belongs to a predicted "a.nii.gz".
_LABEL_WORD = re.compile(r"[-_](d?seg|labels?|mask|pred|prediction)$", re.IGNORECASE)


class LabelPair(NamedTuple):
    """A case's name, its predicted and its reference label file."""

    name: str
    predicted: Path
    reference: Path


def pair_labels(predicted: Path, reference: Path, on_event: OnEvent = ignore) -> list[LabelPair]:
    """Find the reference of each predicted label file.

    Two files are one pair. In a folder, predicted files are named after their cases. The reference is then a folder of
    label files named alike (an ending such as ``-seg`` or ``_pred`` may differ), or a dataset in any layout that
    ``find_cases`` knows. Files without a partner are named in a warning.

    Returns
    -------
    Pairs sorted by name; at least one.

    Raises
    ------
    InputError : a path is missing, a folder stands against a file, two files have one name, or nothing matches.
    """
    for path in (predicted, reference):
        if not path.exists():
            raise InputError(f"{path} does not exist.", "Check the path.")
    if not predicted.is_dir():
        found = {stem(predicted): predicted}
        if not reference.is_dir() and ending(reference):
            return [LabelPair(stem(predicted), predicted, reference)]
    elif not reference.is_dir() and ending(reference):
        raise InputError(f"{predicted} is a folder, but {reference} is a file.", "Give two files or two folders.")
    else:
        found = _label_files(predicted)
    if not found:
        raise InputError(f"{predicted} holds no label maps.", "Give a folder of .nii.gz, .nrrd or .mha files.")
    known = _references(reference, found)
    pairs = _match(found, known)
    if not pairs:
        raise InputError(
            f"No label map in {predicted} has a reference in {reference}: {_some(found)} against {_some(known)}.",
            "Name each predicted file after its case.",
        )
    # Who evaluates one file of a dataset does not miss the others.
    _warn_unmatched(pairs, found, known if predicted.is_dir() else {}, on_event)
    return pairs


def _label_files(folder: Path) -> dict[str, Path]:
    """The image files directly in ``folder``, by stem."""
    try:
        listed = sorted(folder.iterdir())
    except PermissionError as error:
        raise InputError(f"{folder} cannot be read: no permission.", "Change the folder's permissions.") from error
    files: dict[str, Path] = {}
    for path in listed:
        # An .img is read through its .hdr; hidden files are leftovers of macOS and of interrupted writing.
        if not path.is_file() or path.name.startswith(".") or ending(path) in ("", ".img"):
            continue
        name = stem(path)
        if name in files:
            raise InputError(f"{folder} holds both {files[name].name} and {path.name}.", "Keep one of them.")
        files[name] = path
    return files


def _references(path: Path, predicted: Mapping[str, Path]) -> dict[str, Path]:
    """Reference label files by name: those directly in the folder if one matches, else those of the dataset."""
    direct = _label_files(path) if path.is_dir() else {}
    if direct and _match(predicted, direct):
        return direct
    from .datasets import find_cases

    try:
        cases = find_cases(path).cases
    except InputError:
        if direct:
            return direct
        raise
    return {case.name: case.label for case in cases if case.label is not None}


def _match(predicted: Mapping[str, Path], reference: Mapping[str, Path]) -> list[LabelPair]:
    """Pair files of one name, then those whose names differ in a word for "label map" only, if that is unambiguous."""
    same = predicted.keys() & reference.keys()
    ours, theirs = (_by_case(names - same) for names in (predicted.keys(), reference.keys()))
    pairs = [LabelPair(name, predicted[name], reference[name]) for name in same]
    pairs += [
        LabelPair(case, predicted[ours[case]], reference[theirs[case]]) for case in (ours.keys() & theirs.keys()) - same
    ]
    return sorted(pairs)


def _by_case(names: Iterable[str]) -> dict[str, str]:
    cases = [(_LABEL_WORD.sub("", name), name) for name in names]
    times = Counter(case for case, _ in cases)
    return {case: name for case, name in cases if times[case] == 1}


def _warn_unmatched(
    pairs: Sequence[LabelPair], predicted: Mapping[str, Path], reference: Mapping[str, Path], on_event: OnEvent
) -> None:
    matched = {path for pair in pairs for path in (pair.predicted, pair.reference)}
    alone = [path.name for path in predicted.values() if path not in matched]
    if alone:
        on_event(Warning(f"Left out, no reference for: {', '.join(sorted(alone))}."))
    missing = sorted(name for name, path in reference.items() if path not in matched)
    if missing:
        on_event(Warning(f"Left out, no predicted label map for: {', '.join(missing)}."))


def _some(names: Iterable[str], most: int = 3) -> str:
    ordered = sorted(names)
    if not ordered:
        return "none"
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")
