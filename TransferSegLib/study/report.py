"""Report: a study as one HTML file that a person can send; figures are inside, nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..card import INTENDED_USE
from ..errors import InputError
from ..files import atomic_path
from ..pages import render_page
from .advice import Advice
from .scores import Score, in_order, regions_of
from .statistics import Summary

# A corrected p below this is a difference that one may speak of.
_SIGNIFICANT = 0.05

_METRICS = {
    "dice": "Dice",
    "sensitivity": "Sensitivity",
    "hd95_mm": "HD95 (mm)",
    "volume_difference_ml": "Volume difference (ml)",
    "lesion_f1": "F1 of lesions",
}

_VERDICTS = {"clear": "clear", "lean": "likely, not certain", "cannot tell": "cannot be told"}


@dataclass(frozen=True, eq=False)
class Report:
    """What to tell.

    Attributes
    ----------
    introduction : what was done, in two sentences.
    advice : the answer, which comes first. None: there is none.
    summaries : of one metric or of several, Dice first.
    runs : how the hyper-parameters of each run were chosen: a header, then the rows. Empty: not told.
    settings : what is the same for all runs.
    command : the command line that does it again.
    failed : name, cause and remedy of each run that failed.
    figures : caption to PNG file. The first one stands beside the answer, the others below the tables.
    note : what the results are not for.
    """

    title: str
    introduction: str
    advice: Advice | None
    scores: Sequence[Score]
    summaries: Sequence[Summary]
    runs: Sequence[Sequence[str]] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    failed: Sequence[tuple[str, str, str]] = ()
    figures: Mapping[str, Path] = field(default_factory=dict)
    note: str = INTENDED_USE


def write_report(folder: str | Path, report: Report) -> Path:
    """Write ``report.html``.

    Raises
    ------
    InputError : a figure cannot be read, or the folder cannot be written.
    ResourceError : the disk is full.
    """
    path = Path(folder) / "report.html"
    text = render_report(report)
    with atomic_path(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
    return path


def render_report(report: Report) -> str:
    """The page as text.

    Raises
    ------
    InputError : a figure cannot be read.
    """
    first, *others = [_figure(caption, path) for caption, path in report.figures.items()] or [""]
    metrics = list(dict.fromkeys(item.metric for item in report.summaries))
    parts = [
        f"<h1>{_text(report.title)}</h1>",
        f'<p class="note">{_text(report.note)}</p>',
        f"<p>{_text(report.introduction)}</p>",
        _answer(report.advice),
        _failed(report.failed),
        first,
        "".join(_means(report, metric) for metric in metrics),
        "".join(_differences(report, metric) for metric in metrics),
        "".join(others),
        _runs(report.runs),
        _settings(report),
        _command(report.command),
    ]
    return render_page(report.title, "\n".join(filter(None, parts)), _STYLE)


def _answer(advice: Advice | None) -> str:
    if advice is None:
        return ""
    head, *rest = advice.sentences or ("",)
    points = "".join(f"<li>{_text(sentence)}</li>" for sentence in rest)
    state = advice.verdict.replace(" ", "-")
    return (
        f'<section class="answer {state}"><h2>Which strategy?</h2><p class="head">{_text(head)}</p><ul>{points}</ul>'
        f'<p class="small">Verdict: {_VERDICTS[advice.verdict]}. Intervals are 95 %, and allow for other patients and '
        "for training the networks again.</p></section>"
    )


def _failed(failed: Sequence[tuple[str, str, str]]) -> str:
    if not failed:
        return ""
    one = len(failed) == 1
    count, they = ("One training", "It is") if one else (f"{len(failed)} trainings", "They are")
    rows = [["training", "cause", "what to do"], *failed]
    return f'<section class="failed"><h2>{count} failed</h2><p>{they} missing below.</p>{_table(rows)}</section>'


def _figure(caption: str, path: Path) -> str:
    try:
        data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    except OSError as error:
        raise InputError(f"The figure {path} cannot be read: {error.strerror or error}.", "Draw it again.") from error
    shown = _text(caption)
    return f'<figure><img src="data:image/png;base64,{data}" alt="{shown}"><figcaption>{shown}.</figcaption></figure>'


def _means(report: Report, metric: str) -> str:
    """A row for each number of training patients and strategy, a column for each region."""
    items, regions, name = _of(report, metric)
    rows: list[list[str]] = []
    for n, strategy in _keys(items.values()):
        row = [str(n), _text(strategy)]
        for region in regions:
            item = items.get((n, strategy, region))
            highest = max(one.mean for (count, _, where), one in items.items() if (count, where) == (n, region))
            row.append("-" if item is None else _mean(item, metric == "dice" and item.mean == highest))
        rows.append(row)
    patients = sorted({item.patients for item in items.values()})
    tested = f"{patients[0]}" if len(patients) == 1 else f"{patients[0]} to {patients[-1]}"
    several = any(not math.isnan(item.sd_seeds) for item in items.values())
    about = (
        f"Mean over {tested} tested patients [95 % interval if others had been tested]"
        + ("; behind &plusmn;, how far training again with another seed moves it (sd)" if several else "")
        + (". Bold: the highest; that alone is no proof of a difference." if metric == "dice" else ".")
    )
    header = ["training patients", "strategy", *map(_text, regions)]
    return _titled(f"{name} of each strategy", about, _table([header, *rows], escape=False), metric)


def _differences(report: Report, metric: str) -> str:
    """A row for each comparison with the baseline."""
    items, regions, name = _of(report, metric)
    rows: list[list[str]] = []
    for n, strategy in _keys(items.values()):
        for region in regions:
            item = items.get((n, strategy, region))
            if item is None or not item.pairs:
                continue
            interval = f" [{item.difference_low:+.3f}, {item.difference_high:+.3f}]" if item.pairs > 1 else ""
            rows.append(
                [
                    str(n),
                    _text(strategy),
                    _text(region),
                    str(item.pairs),
                    f"{item.difference:+.3f}{interval}",
                    "" if math.isnan(item.relative_percent) else f"{item.relative_percent:+.1f} %",
                    _p(item.p),
                    _p(item.p_holm),
                    _reading(item),
                ]
            )
    if not rows:
        return ""
    baseline = _text(next(iter(items.values())).baseline)
    header = [
        "training patients",
        "strategy",
        "region",
        "pairs",
        "difference",
        "relative",
        "p",
        "corrected p",
        "reading",
    ]
    about = (
        f"Strategy minus {baseline}, patient by patient, on what both segmented [95 % interval if other patients had "
        f"been tested and all networks trained again]; relative to the mean of {baseline} as in Kaur et al. 2019. p: "
        "Wilcoxon's signed-rank test over patients, corrected for all rows by Holm's method; it speaks of the networks "
        "that were trained. Higher or lower: corrected p below 0.05, and the interval does not hold 0."
    )
    return _titled(f"{name} against {baseline}", about, _table([header, *rows], escape=False), metric)


def _runs(runs: Sequence[Sequence[str]]) -> str:
    if len(runs) < 2:
        return ""
    about = "What was chosen for each training, without a look at the tested patients."
    return f"<h2>How the settings of each training were chosen</h2><details><summary>{about}</summary>" + (
        f"{_table(runs)}</details>"
    )


def _settings(report: Report) -> str:
    scores = report.scores
    groups: dict[str, set[str]] = {}
    for score in scores:
        groups.setdefault(score.group, set()).add(score.patient)
    named = {group: len(patients) for group, patients in sorted(groups.items()) if group}
    rows = [[name, value] for name, value in report.settings.items()]
    if named:
        rows.append(["tested patients by group", ", ".join(f"{group} {count}" for group, count in named.items())])
    if not rows:
        return ""
    cells = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f'<h2>The same for all trainings</h2><div class="wide"><table class="facts">{cells}</table></div>'


def _command(command: str) -> str:
    if not command:
        return ""
    return f"<h2>To repeat this</h2><pre>{_text(command)}</pre>"


def _of(report: Report, metric: str) -> tuple[dict[tuple[int, str, str], Summary], list[str], str]:
    items = {(item.n, item.strategy, item.region): item for item in report.summaries if item.metric == metric}
    there = {region for _, _, region in items}
    regions = [region for region in regions_of(report.scores) if region in there]
    return items, regions + sorted(there.difference(regions)), _METRICS.get(metric, metric)


def _keys(items: Iterable[Summary]) -> list[tuple[int, str]]:
    there = {(item.n, item.strategy) for item in items}
    order = in_order(strategy for _, strategy in there)
    return sorted(there, key=lambda key: (key[0], order.index(key[1])))


def _mean(item: Summary, highest: bool) -> str:
    digits = 3 if abs(item.mean) < 10 else 1
    mean = f"{item.mean:.{digits}f}"
    shown = f"<b>{mean}</b>" if highest else mean
    if not math.isnan(item.sd_seeds):
        shown += f" &plusmn; {item.sd_seeds:.{digits}f}"
    return shown + ("" if math.isnan(item.low) else f" <i>[{item.low:.{digits}f}, {item.high:.{digits}f}]</i>")


def _reading(item: Summary) -> str:
    if math.isnan(item.p_holm) or item.p_holm >= _SIGNIFICANT:
        return "cannot tell"
    direction = "higher" if item.difference > 0 else "lower"
    if item.difference_low <= 0 <= item.difference_high:
        return f"{direction} with these networks only"
    return f"<b>{direction}</b>"


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return "&lt; 0.0001" if value < 0.0001 else f"{value:.2g}" if value < 0.095 else f"{value:.2f}"


def _titled(title: str, about: str, table: str, metric: str) -> str:
    """Dice in the open, the other metrics folded away."""
    if metric == "dice":
        return f"<h2>{title}</h2><p>{about}</p>{table}"
    return f"<details><summary>{title}</summary><p>{about}</p>{table}</details>"


def _table(rows: Sequence[Sequence[str]], escape: bool = True) -> str:
    """The first row is the header."""
    lines = []
    for number, row in enumerate(rows):
        cell = "td" if number else "th"
        line = "".join(f"<{cell}>{_text(value) if escape else value}</{cell}>" for value in row)
        # A rule where the first column changes, so that one finds the sizes.
        new = number > 1 and row[0] != rows[number - 1][0]
        lines.append(f'<tr class="new">{line}</tr>' if new else f"<tr>{line}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _text(value: str) -> str:
    return html.escape(value, quote=True)


_STYLE = """
h1 { font-size: 1.7em; margin-bottom: 0.2em; }
h2 { font-size: 1.2em; margin: 1.8em 0 0.3em; }
.note, .small, figcaption { color: #666; font-size: 0.9em; }
section { border-left: 6px solid #888; padding: 0.6em 1.2em; margin: 1.5em 0; background: #f7f7f7; }
section h2 { margin-top: 0.2em; }
section.clear { border-color: #1a9850; }
section.lean { border-color: #e0a014; }
section.failed { border-color: #c0392b; }
.head { font-size: 1.15em; font-weight: 600; }
figure { margin: 1.5em 0; }
figure img { width: auto; max-width: 100%; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92em; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.25em 1.1em 0.25em 0; border-bottom: 1px solid #e4e4e4; }
th { font-weight: 600; border-bottom-color: #999; }
tr.new td { border-top: 2px solid #bbb; }
.facts th { border-bottom-color: #e4e4e4; white-space: nowrap; }
td i { color: #666; font-style: normal; font-size: 0.92em; white-space: nowrap; }
pre { background: #f2f2f2; padding: 0.8em; white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: 0.6em 0; }
summary { cursor: pointer; }
@media print { body { max-width: none; font-size: 11px; } section, figure, tr { break-inside: avoid; } }
"""
