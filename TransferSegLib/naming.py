"""What file names tell: the channel of an image, whether it is a label map, which patient a visit belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path, PureWindowsPath

from .case_files import CHANNELS
from .formats import stem

# Words for a contrast agent after a T1. "post" may as well tell a visit.
_AGENT = r"(ce|km|ks|gd|gad|gado|gadolinium|contrast|postcontrast|post(?!_(op|surg|rt|rad|treat)))_(?!none_)"
# What stands between them says that there is none, or that the T1 was brought to another image.
_NO_AGENT = r"(non?e?|without|wo|w_o|ohne|pre(?!_op)|precontrast|nativ|native|to|in|on|t[12][^_]*|flair)_"
_NOT_BEFORE = "".join(f"(?<!_{word})" for word in ("no", "non", "without", "wo", "w_o", "ohne", "pre"))

# How names tell the channel, in words joined by "_". The first place in the name wins ("flair_to_t1" is a FLAIR), at
# the same place the first row. A FLAIR is a T2 ("t2_flair"); a contrast agent may come before the T1 (BIDS).
_CHANNEL_NAMES = (
    ("t1c", rf"_t1w?_?(c_|{_AGENT})|_t1[wn]?_((?!{_NO_AGENT})[^_]+_)*{_AGENT}"),
    ("t1c", rf"{_NOT_BEFORE}_((ce|gd|gad|gado|gadolinium)_(?!none_)(.*_)?|(post_?)?contrast_)t1[wn]?_"),
    ("flair", r"_(t2w?_(.*_)?)?(flair|dark_?fluid)_|_t2w?f(lair)?_"),
    ("t1", r"_t1[wn]?_"),
    ("t2", r"_t2w?_"),
)

_LABEL_WORD = re.compile(r"(seg|label|lesion).*|.*(seg|mask|label|lesion)s?\d*|gt|groundtruth|consensus")

# BraTS 2017 to 2019: Brats18_TCIA02_370_1; since 2023: BraTS-GLI-00002-000. The last number is the visit.
_BRATS_VISIT = re.compile(r"(brats1[789]_.+)_\d+|(brats-.+)-\d+", re.IGNORECASE)


def guess_channel(filename: str | Path) -> str | None:
    """The channel (t1, t1c, t2 or flair) that a file name tells, or None."""
    name = f"_{'_'.join(_words(stem(filename)))}_"
    places = [(match.start(), rank) for rank, (_, how) in enumerate(_CHANNEL_NAMES) if (match := re.search(how, name))]
    return _CHANNEL_NAMES[min(places)[1]][0] if places else None


def find_channel(name: str, channels: Sequence[str]) -> str | None:
    """The one of ``channels`` that a name without ending tells, or None.

    A channel other than t1, t1c, t2, flair must stand in the name as it is.
    """
    words = f"_{'_'.join(_words(name))}_"
    for channel in sorted(set(channels) - set(CHANNELS), key=lambda channel: (-len(channel), channel)):
        if f"_{'_'.join(_words(channel))}_" in words:
            return channel
    guess = guess_channel(name)
    return guess if guess in channels else None


def as_channel(word: str) -> str:
    """A channel as a user calls it: ``T1ce`` is t1c. What is no known word stays as it is, in lower case."""
    return (guess_channel(word) if len(_words(word)) == 1 else None) or word.lower()


def is_label(name: str) -> bool:
    """Whether a file name tells a label map: seg, label, lesion, mask, gt, consensus. A brain mask is none."""
    return not is_brain_mask(name) and any(_LABEL_WORD.fullmatch(word) for word in _words(name))


def is_brain_mask(name: str) -> bool:
    words = _words(name)
    return "brainmask" in words or {"brain", "mask"} <= set(words)


def bids_channel(name: str, channels: Sequence[str]) -> str | None:
    """The suffix is the last word: ``sub-01_ce-gadolinium_T1w`` is a T1 with a contrast agent (entity ce)."""
    *entities, suffix = name.split("_")
    contrast = any(entity.startswith("ce-") and entity != "ce-none" for entity in entities)
    return find_channel(f"ce_{suffix}" if contrast else suffix, channels)


def is_bids_label(name: str) -> bool:
    """Whether a derivative is a label map: ``*_dseg``, ``*_mask`` or ``*label*``. A brain mask is none."""
    told = name.endswith(("_dseg", "_mask")) or ("label" in name and not name.endswith("_probseg"))
    return told and not is_brain_mask(name)


def patient_of(case: str) -> str:
    """The patient that a BraTS visit belongs to; for other names the name itself."""
    match = _BRATS_VISIT.fullmatch(case)
    return (match[1] or match[2]) if match else case


def common_name(files: Iterable[Path]) -> str:
    """A name for a case from its files: what their names share before the channel, or else their folder's name."""
    # The paths of Windows are understood everywhere; its class takes both kinds of slashes.
    paths = [PureWindowsPath(os.path.abspath(file)) for file in files]
    names = [list(takewhile(_is_no_channel, re.split(r"([\W_]+)", stem(path.name)))) for path in paths]
    shared = "".join(_shared(names)).strip(" ._-")
    parents = _shared([path.parent.parts for path in paths])
    return shared or (parents[-1].strip("\\/:") if parents else "")


def _shared(rows: Sequence[Sequence[str]]) -> list[str]:
    """What all rows have in common at their start."""
    return [items[0] for items in takewhile(lambda items: len(set(items)) == 1, zip(*rows, strict=False))]


def _is_no_channel(word: str) -> bool:
    return guess_channel(word) is None


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.lower()) if word]
