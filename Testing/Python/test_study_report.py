"""The report: one file that holds all, says the answer first, and loads nothing from anywhere."""

import base64
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from made_up_study import make_study, scores_of

from TransferSegLib.errors import InputError
from TransferSegLib.study.advice import advise
from TransferSegLib.study.report import Report, render_report, write_report
from TransferSegLib.study.statistics import summarise

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
SCORES = make_study(12, (20, 50), 2)


class Page(HTMLParser):
    """Tags with their attributes, tables as lists of rows of text, and whether all that was opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def table(self, *header):
        (found,) = [table for table in self.tables if set(header) <= set(table[0])]
        return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


@pytest.fixture
def report(tmp_path):
    figures = {}
    for name in ("sizes", "patients"):
        figures[f"Figure of {name}"] = tmp_path / f"{name}.png"
        figures[f"Figure of {name}"].write_bytes(PNG)
    return Report(
        "Which <strategy>?",
        "Networks were trained. They were tested.",
        advise(SCORES),
        SCORES,
        summarise(SCORES),
        [["run", "learning_rate"], ["0-0-20-all", "0.003"]],
        {"source": "ms-lesion"},
        'transferseg study "my data" --seeds 2',
        [("0-1-20-all", "Memory ran out in <a&b>.", "Use --jobs 1.")],
        figures,
    )


def test_the_page_is_whole_and_closes_what_it_opens(report, tmp_path):
    path = write_report(tmp_path / "out", report)
    assert path == tmp_path / "out" / "report.html"
    page = Page(path.read_text("utf-8"))
    assert page.open == []
    assert ("html", {"lang": "en"}) in page.tags
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]


def test_nothing_is_loaded_from_anywhere_and_nothing_runs(report):
    text = render_report(report)
    page = Page(text)
    assert not {"script", "link", "iframe", "a"} & {tag for tag, _ in page.tags}
    assert all(attrs["src"].startswith("data:image/png;base64,") for tag, attrs in page.tags if tag == "img")
    assert "http" not in text
    assert "url(" not in text


def test_the_figures_are_inside(report):
    images = [attrs for tag, attrs in Page(render_report(report)).tags if tag == "img"]
    assert [attrs["alt"] for attrs in images] == ["Figure of sizes", "Figure of patients"]
    assert all(base64.b64decode(attrs["src"].split(",")[1]) == PNG for attrs in images)


def test_the_answer_comes_before_everything_else(report):
    text = render_report(report)
    places = [
        text.index(part)
        for part in (
            "Which &lt;strategy&gt;?</h1>",
            "Not a medical device",
            "They were tested.",
            "Use the strategy",
            "One training failed",
            'alt="Figure of sizes"',
            "Dice of each strategy",
            "Dice against scratch",
            'alt="Figure of patients"',
            "How the settings of each training were chosen",
            "The same for all trainings",
            "To repeat this",
        )
    ]
    assert places == sorted(places)
    for sentence in report.advice.sentences:
        assert sentence.replace("'", "&#x27;") in text


def test_what_users_named_is_escaped(report):
    text = render_report(replace(report, advice=None))
    assert "Memory ran out in &lt;a&amp;b&gt;." in text
    assert "<a&b>" not in text
    assert "&quot;my data&quot;" in text


def test_the_table_of_means_has_a_row_for_each_strategy_and_size_and_the_highest_bold(report):
    rows = Page(render_report(report)).table("training patients", "enhancing")
    assert [(row["training patients"], row["strategy"]) for row in rows] == [
        (n, name) for n in ("20", "50") for name in ("scratch", "last-three", "decoder", "all")
    ]
    assert list(rows[0]) == ["training patients", "strategy", "enhancing", "core", "whole"]
    (item,) = [one for one in report.summaries if (one.n, one.strategy, one.region) == (50, "all", "core")]
    expected = f"{item.mean:.3f} ± {item.sd_seeds:.3f} [{item.low:.3f}, {item.high:.3f}]"
    assert rows[-1]["core"] == expected
    assert f"<b>{item.mean:.3f}</b>" in render_report(report)


def test_the_table_of_differences_tells_what_each_means(report):
    rows = Page(render_report(report)).table("difference", "corrected p")
    assert len(rows) == 2 * 3 * 3  # sizes, strategies but the baseline, regions
    (item,) = [one for one in report.summaries if (one.n, one.strategy, one.region) == (20, "all", "core")]
    row = next(
        row for row in rows if (row["training patients"], row["strategy"], row["region"]) == ("20", "all", "core")
    )
    assert row["difference"] == f"{item.difference:+.3f} [{item.difference_low:+.3f}, {item.difference_high:+.3f}]"
    assert row["relative"] == f"{item.relative_percent:+.1f} %"
    assert row["pairs"] == "12"


@pytest.mark.parametrize(
    ("p", "low", "high", "difference", "reading"),
    [
        (0.01, 0.02, 0.2, 0.1, "higher"),
        (0.01, -0.2, -0.02, -0.1, "lower"),
        (0.01, -0.02, 0.2, 0.1, "higher with these networks only"),
        (0.06, 0.02, 0.2, 0.1, "cannot tell"),
        (float("nan"), 0.02, 0.2, 0.1, "cannot tell"),
    ],
)
def test_a_difference_is_called_one_when_test_and_interval_agree(report, p, low, high, difference, reading):
    (item,) = [one for one in report.summaries if (one.n, one.strategy, one.region) == (20, "all", "core")]
    item = replace(item, p_holm=p, difference=difference, difference_low=low, difference_high=high)
    (row,) = Page(render_report(replace(report, summaries=[item]))).table("difference")
    assert row["reading"] == reading


def test_other_metrics_are_folded_away_below_dice(report):
    millimetres = [replace(one, metric="hd95_mm", mean=12.3456) for one in report.summaries]
    text = render_report(replace(report, summaries=[*report.summaries, *millimetres]))
    assert "<summary>HD95 (mm) of each strategy</summary>" in text
    assert Page(text).open == []
    assert "12.3 " in text


def test_what_there_is_not_is_not_told():
    scores = scores_of([0.5], group="")
    text = render_report(Report("Title", "Text.", None, scores, summarise(scores)))
    page = Page(text)
    assert page.open == []
    body = text[text.index("<body>") :]
    for absent in ("Which strategy", "failed", "repeat", "The same for", "<img", "against", "nan"):
        assert absent not in body
    assert page.table("whole")[0]["whole"] == "0.500"


def test_groups_are_counted_by_patients(report):
    assert "HGG 8, LGG 4" in render_report(report)


def test_a_figure_that_is_gone_is_refused_with_its_name(report, tmp_path):
    with pytest.raises(InputError, match=r"gone\.png"):
        write_report(tmp_path, replace(report, figures={"Gone": tmp_path / "gone.png"}))
    assert not (tmp_path / "report.html").exists()


def test_the_same_report_is_the_same_text(report):
    assert render_report(report) == render_report(report)
