"""LabelScheme: which classes a label map holds, how they are named, coloured and grouped into regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError


@dataclass(frozen=True)
class LabelClass:
    """One class of a label map.

    Attributes
    ----------
    name : for instance ``"edema"``.
    codes : the values that mean this class in files; the first one is written on export.
    color : RGB, 0 to 255.
    snomed : SNOMED CT code and its meaning, or None.
    """

    name: str
    codes: tuple[int, ...]
    color: tuple[int, int, int]
    snomed: tuple[str, str] | None = None


@dataclass(frozen=True)
class LabelScheme:
    """The classes of a segmentation task. Inside the library class ``classes[c]`` has the label ``c``, from 0 on.

    Attributes
    ----------
    name : of the scheme, for instance ``"glioma"``.
    classes : the first one is the background.
    regions : named unions of classes that results are reported for, in the order of reporting.

    Raises
    ------
    InputError : two classes share a name or a code, a name is empty, a code does not fit into a byte, or a region names
        a class that does not exist.
    """

    name: str
    classes: tuple[LabelClass, ...]
    regions: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        names = [item.name for item in self.classes]
        codes = [code for item in self.classes for code in item.codes]
        if len(self.classes) < 2:
            raise InputError(f"Label scheme '{self.name}' has {len(self.classes)} classes.", "Give at least two.")
        if not all((self.name, *names, *self.regions)):
            raise InputError(f"Label scheme '{self.name}' has something without a name.", "Name each class and region.")
        for what, values in (("name", names), ("code", codes)):
            if len(set(values)) < len(values):
                raise InputError(f"Label scheme '{self.name}' uses a {what} twice: {values}.", "Make them unique.")
        if any(not item.codes for item in self.classes):
            raise InputError(f"Label scheme '{self.name}' has a class without a code.", "Give each class a value.")
        if not all(0 <= code <= 255 for code in codes):
            raise InputError(
                f"Label scheme '{self.name}' has codes outside of 0 to 255: {codes}.", "Relabel the files."
            )
        for region, members in self.regions.items():
            unknown = sorted(set(members) - set(names[1:]))
            if unknown or not members:
                raise InputError(
                    f"Region '{region}' of label scheme '{self.name}' has unknown or no classes: {unknown}.",
                    f"Use some of {names[1:]}.",
                )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, background first."""
        return tuple(item.name for item in self.classes)

    @property
    def binary(self) -> bool:
        """Whether there is one foreground class only, as with lesions."""
        return len(self.classes) == 2

    def region_labels(self, region: str) -> tuple[int, ...]:
        """Internal labels of the classes that make up ``region``."""
        return tuple(self.names.index(name) for name in self.regions[region])

    def region_masks(self, labels: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
        """Map each region's name to its mask in ``labels`` (internal labels, any shape)."""
        return {region: np.isin(labels, self.region_labels(region)) for region in self.regions}

    def encode(self, values: NDArray[Any], source: object = "The label map") -> NDArray[np.uint8]:
        """Turn the values of a file into internal labels 0..F-1.

        Parameters
        ----------
        values : array of any shape and numeric type.
        source : named in the error message, for instance the path of the file.

        Raises
        ------
        InputError : a value is none of the scheme's codes, or two codes of one class occur together (the file then
            follows another convention, in which one of them means something else).
        """
        found = np.unique(values)
        known = {code: label for label, item in enumerate(self.classes) for code in item.codes}
        unknown = [value for value in found.tolist() if value not in known]
        if unknown:
            expected = ", ".join(f"{'/'.join(map(str, item.codes))} = {item.name}" for item in self.classes)
            raise InputError(
                f"{source} has the unknown label {_listed(unknown)}.",
                f"Expected by the scheme '{self.name}': {expected}. Relabel the file or choose another --labels, for "
                "instance a dataset.json that names every value.",
            )
        for item in self.classes:
            both = [code for code in item.codes if code in found]
            if len(both) > 1:
                raise InputError(
                    f"{source} has both {both[0]} and {both[1]}, which are different codes of '{item.name}'.",
                    "The file follows another convention: relabel it.",
                )
        labels = np.zeros(values.shape, np.uint8)
        for code in found.tolist():
            if known[code]:
                labels[values == code] = known[code]
        return labels

    def decode(self, labels: NDArray[Any]) -> NDArray[np.uint8]:
        """Turn internal labels into the values written to files (the first code of each class)."""
        table = np.array([item.codes[0] for item in self.classes], np.uint8)
        values: NDArray[np.uint8] = table[labels]
        return values

    def meaning(self) -> dict[str, Any]:
        """What decides over numbers, JSON data: names and codes of the classes, and the regions; not how they look."""
        return {
            "classes": [[item.name, list(item.codes)] for item in self.classes],
            "regions": {region: list(members) for region, members in self.regions.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the model card."""
        return {
            "name": self.name,
            "classes": [
                {
                    "name": item.name,
                    "codes": list(item.codes),
                    "color": list(item.color),
                    "snomed": list(item.snomed) if item.snomed else None,
                }
                for item in self.classes
            ],
            "regions": {region: list(members) for region, members in self.regions.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelScheme:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        InputError : something is missing or wrong.
        """
        try:
            classes = tuple(
                LabelClass(
                    str(item["name"]),
                    tuple(int(code) for code in item["codes"]),
                    _color(item["color"]),
                    _snomed(item.get("snomed")),
                )
                for item in data["classes"]
            )
            regions = {str(region): tuple(members) for region, members in data["regions"].items()}
            return cls(str(data["name"]), classes, regions)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"The label scheme is not valid: {error!r}.",
                "It needs 'name', 'classes' (each with 'name', 'codes', 'color') and 'regions'.",
            ) from error

    @classmethod
    def from_names(
        cls, name: str, codes: Mapping[str, int], regions: Mapping[str, Iterable[str]] | None = None
    ) -> LabelScheme:
        """A scheme from class names and values alone, as in an nnU-Net ``dataset.json``.

        Each foreground class is a region unless ``regions`` says otherwise.

        Raises
        ------
        InputError : no class has the value 0, which is the background.
        """
        if 0 not in codes.values():
            raise InputError(f"Label scheme '{name}' has no background: no class has the value 0.", "Add it.")
        ordered = sorted(codes.items(), key=lambda item: item[1])
        classes = tuple(
            LabelClass(label, (code,), (0, 0, 0) if index == 0 else PALETTE[(index - 1) % len(PALETTE)])
            for index, (label, code) in enumerate(ordered)
        )
        chosen = regions or {item.name: (item.name,) for item in classes[1:]}
        return cls(name, classes, {region: tuple(members) for region, members in chosen.items()})


def _listed(values: list[Any], most: int = 5) -> str:
    shown = ", ".join(f"{value:.9g}" for value in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"


def _color(value: Any) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in value)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"color {value} is not RGB from 0 to 255")
    return red, green, blue


def _snomed(value: Any) -> tuple[str, str] | None:
    if value is None:
        return None
    code, meaning = value
    return str(code), str(meaning)


# Okabe and Ito's colours, told apart by colour-blind people too.
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))

_BACKGROUND = LabelClass("background", (0,), (0, 0, 0))

_ENHANCING = LabelClass("enhancing", (4, 3), (246, 217, 38), ("108369006", "Neoplasm"))

# Colours of the paper's Fig. 3. Enhancing tumour is 4 in BraTS 2012 to 2022 and 3 since BraTS 2023.
GLIOMA = LabelScheme(
    "glioma",
    (
        _BACKGROUND,
        LabelClass("necrotic", (1,), (216, 60, 60), ("6574001", "Necrosis")),
        LabelClass("edema", (2,), (80, 174, 128), ("79654002", "Edema")),
        _ENHANCING,
    ),
    {"whole": ("necrotic", "edema", "enhancing"), "core": ("necrotic", "enhancing"), "enhancing": ("enhancing",)},
)

# In treated patients 4 is the cavity of the resection since BraTS 2024: nothing that the scheme has a class for.
GLIOMA_SINCE_2023 = replace(GLIOMA, classes=(*GLIOMA.classes[:3], replace(_ENHANCING, codes=(3,))))

LESION = LabelScheme(
    "lesion",
    (_BACKGROUND, LabelClass("lesion", (1,), (230, 159, 0), ("52988006", "Lesion"))),
    {"lesion": ("lesion",)},
)

SCHEMES: Mapping[str, LabelScheme] = {scheme.name: scheme for scheme in (GLIOMA, LESION)}
