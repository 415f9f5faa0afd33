"""The README of a model: its card for people, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .card import Card, Score


def render_readme(card: Card) -> str:
    """The text of ``README.md``. It says nothing that is not on the card."""
    sections = [
        f"# {_line(card.title)}",
        "**Research use only.** Not a medical device.",
        card.description,
        f"`{card.name}`, version {card.version}, licence {card.licence}.",
        "## How to use it",
        _usage(card),
        "## What it is for",
        f"{card.intended_use}\n\n{card.limitations}",
        "## What it needs",
        _input(card),
        "## What it gives",
        _labels(card),
        "## How good it is",
        _scores(card.metrics),
        "## How it was made",
        _training(card),
    ]
    if card.citations:
        sections += ["## Please cite", "\n".join(f"- {_line(item)}" for item in card.citations)]
    sections.append(f"*Made from `model.json` by TransferSeg. SHA-256 of the weights: `{card.weights_sha256}`.*")
    return "\n\n".join(sections) + "\n"


def _usage(card: Card) -> str:
    images = ",".join(f"{channel}={channel}.nii.gz" for channel in card.channels)
    return (
        "In 3D Slicer: module *TransferSeg*, *Models*, *Import...*. On the command line:\n\n"
        f"```\ntransferseg models install path/to/{card.name}\n"
        f"transferseg segment {images} --model {card.name} --out results\n```"
    )


def _input(card: Card) -> str:
    shape = "the box of the brain" if card.shape is None else f"a grid of {_by(card.shape)} voxels"
    spacing = "each image in its own voxel size" if card.spacing_mm is None else f"voxel size {_by(card.spacing_mm)} mm"
    lines = [
        f"Images of one visit, {len(card.channels)} of them: {', '.join(f'`{name}`' for name in card.channels)}.",
        f"The network sees {shape}, {spacing}. TransferSeg does these steps first:",
    ]
    steps = [f"{number}. {_step(step)}" for number, step in enumerate(card.preprocessing, start=1)]
    return "\n".join(lines) + "\n\n" + ("\n".join(steps) or "None.")


def _labels(card: Card) -> str:
    rows = [
        (
            item.name,
            str(item.codes[0]) + "".join(f" (also read: {code})" for code in item.codes[1:]),
            "#{:02x}{:02x}{:02x}".format(*item.color),
            "" if item.snomed is None else f"{item.snomed[0]} {item.snomed[1]}",
        )
        for item in card.scheme.classes
    ]
    regions = ", ".join(f"{name} = {' + '.join(members)}" for name, members in card.labels.regions.items())
    return _table(("Class", "Value in files", "Colour", "SNOMED CT"), rows) + f"\n\nRegions: {regions}."


def _scores(scores: Iterable[Score]) -> str:
    rows = [
        (
            item.region,
            item.metric,
            f"{item.cases} {item.data}",
            _number(item.mean) + (f" ± {_number(item.sd)}" if item.sd is not None else ""),
            _number(item.median),
            f"{_number(item.ci_low)} to {_number(item.ci_high)}" if item.ci_low is not None else "–",
        )
        for item in scores
    ]
    if not rows:
        return "It was not measured. Measure it on cases of your own before you trust it."
    header = ("Region", "Metric", "Cases", "Mean ± SD", "Median", "95 % interval of the mean")
    return _table(header, rows)


def _training(card: Card) -> str:
    training = card.training
    groups = ", ".join(f"{count} {name}" for name, count in training.cases.groups.items())
    rows = [
        ("Source model", training.parent or "none, from scratch"),
        ("Strategy", training.strategy),
        ("Training cases", f"{training.cases.count}" + (f" ({groups})" if groups else "")),
        *((_words(name).capitalize(), _value(value)) for name, value in training.hyperparameters.items()),
        ("Seed", str(training.seed)),
        ("Date", training.date),
        ("Software", ", ".join(f"{name} {version}" for name, version in training.libraries.items())),
    ]
    if training.frozen_hash_before is not None:
        same = training.frozen_hash_before == training.frozen_hash_after
        rows.insert(2, ("Frozen layers", "unchanged to the bit (by hash)" if same else "CHANGED during training"))
    network = card.network
    rows.append(("Network", f"3D U-Net, {network.steps} resolution steps, {network.base_filters} filters in the first"))
    return "\n".join(f"- {name}: {_line(text)}" for name, text in rows)


def _step(step: Mapping[str, Any]) -> str:
    parameters = [f"{_words(name)} {_value(value)}" for name, value in step.items() if name != "step"]
    return f"{step['step']}" + (f": {', '.join(parameters)}" if parameters else "")


def _value(value: Any) -> str:
    """A parameter for reading: long learned values, such as landmarks, stand in the card only."""
    if isinstance(value, list | dict):
        items = value.values() if isinstance(value, dict) else value
        if len(value) > 6 or any(isinstance(item, list | dict) for item in items):
            return "(see `model.json`)"
        if isinstance(value, dict):
            return ", ".join(f"{name} {_value(item)}" for name, item in value.items()) or "none"
        return ", ".join(_value(item) for item in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _by(values: Iterable[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(_line(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _line(text: str) -> str:
    """One line: a line break ends a table or a list."""
    return " ".join(text.split())
