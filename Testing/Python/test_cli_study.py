"""The commands study and compare, as a user types them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brains import write_dataset
from command import Done, error, private_folders, run
from studies import PATIENTS, tumours

SMOKE = ("--protocol", "smoke", "--spacing", 4, "--threads", 1, "--source", "ms-lesion-fast")
FEW = ("--epochs", 2, "--spacing", 4, "--threads", 1, "--source", "ms-lesion-fast")
TABLES = {"scores.csv", "summary.csv", "runs.csv", "timings.csv"}
FIGURES = {"dice_by_size.png", "patients.png"}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with private_folders(tmp_path_factory.mktemp("cli")) as folder:
        yield folder


@pytest.fixture(scope="module")
def smoke(place: Path) -> Done:
    """Everything once."""
    return run("study", tumours(place), *SMOKE, "--out", place / "smoke")


@pytest.fixture(scope="module")
def comparison(place: Path) -> Done:
    return run("compare", tumours(place), *FEW, "--strategies", "scratch,all", "--out", place / "which", "--events")


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_smoke_ends_in_all_tables_and_figures(place: Path, smoke: Done) -> None:
    assert smoke.code == 0, smoke.err
    assert {path.name for path in (place / "smoke").glob("*.*")} == TABLES | FIGURES | {"report.html", "study.json"}
    assert all((place / "smoke" / name).read_bytes().startswith(b"\x89PNG") for name in FIGURES)
    assert len(rows(place / "smoke" / "runs.csv")) == 2 * 2 * 4
    # 2 sizes, 2 seeds, 4 strategies, 2 patients, 3 regions and the 2 classes that are none
    assert len(rows(place / "smoke" / "scores.csv")) == 2 * 2 * 4 * 2 * 5


def test_the_summary_has_intervals_and_the_relative_improvement(place: Path, smoke: Done) -> None:
    found = {(row["n"], row["strategy"], row["region"]): row for row in rows(place / "smoke" / "summary.csv")}
    assert {strategy for _, strategy, _ in found} == {"scratch", "last-three", "decoder", "all"}
    for (n, strategy, region), row in found.items():
        assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])
        base = float(found[n, "scratch", region]["mean"])
        if strategy != "scratch" and base > 0.01:
            wanted = 100 * (float(row["mean"]) - base) / base
            assert float(row["relative_percent"]) == pytest.approx(wanted, abs=1e-2 * max(1, abs(wanted)))


def test_the_chosen_hyper_parameters_are_told(place: Path, smoke: Done) -> None:
    for row in rows(place / "smoke" / "runs.csv"):
        scores = {rate: float(row[f"cross-validated learning-rate={rate}"]) for rate in ("0.01", "0.003")}
        assert float(row["learning_rate"]) == float(max(scores, key=scores.__getitem__))
        assert 1 <= int(row["best_epoch"]) <= int(row["epochs"])


def test_a_terminal_shows_the_table_and_then_what_it_means(place: Path, smoke: Done) -> None:
    lines = smoke.out.splitlines()
    assert lines[0].split() == ["patients", "strategy", "Dice", "whole", "Dice", "core", "Dice", "enhancing"]
    assert [line.split()[:2] for line in lines[2:10]] == [
        [n, strategy] for n in "24" for strategy in ("scratch", "last-three", "decoder", "all")
    ]
    assert "too few to tell which strategy is best" in smoke.out
    assert lines[-1] == f"Report: {place / 'smoke' / 'report.html'}"


def test_the_report_stands_alone_and_says_how_to_repeat_it(place: Path, smoke: Done) -> None:
    text = (place / "smoke" / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "http" not in text.replace("https://doi.org", "")
    assert "too few to tell which strategy is best" in text
    assert "2-fold cross-validation" in text


def test_a_finished_study_only_writes_its_tables_again(place: Path, smoke: Done) -> None:
    before = {name: (place / "smoke" / name).read_bytes() for name in TABLES}
    again = run("study", tumours(place), *SMOKE, "--out", place / "smoke")
    assert (again.code, again.out) == (0, smoke.out)
    assert {name: (place / "smoke" / name).read_bytes() for name in TABLES} == before


def test_without_matplotlib_there_is_all_but_the_figures(
    place: Path, smoke: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.lines", None)
    again = run("study", tumours(place), *SMOKE, "--out", place / "smoke")
    assert again.code == 0
    assert any("No figures: matplotlib is not installed." in line for line in again.told)


def test_a_dry_run_tells_the_cost_and_writes_nothing(place: Path) -> None:
    done = run("study", tumours(place), *SMOKE, "--out", place / "dry", "--dry-run")
    assert done.code == 0, done.err
    assert not (place / "dry").exists()
    lines = [line.split() for line in done.out.splitlines()]
    # To choose, 2 settings on 2 parts; each training has 6 steps; 2 seeds.
    assert lines[2] == ["2", "scratch", "8", "2", "60"]
    assert "80 trainings, 0 of them done before." in done.out
    assert "with one worker on this machine" in done.out


def test_a_dry_run_of_a_finished_study_knows_what_is_done(place: Path, smoke: Done) -> None:
    done = run("study", tumours(place), *SMOKE, "--out", place / "smoke", "--dry-run", "--events")
    (told,) = done.of("result")
    # The final trainings follow from choices that a dry run does not make again.
    assert (told["values"]["trainings"], told["values"]["done"]) == (80, 64)


def test_comparing_answers_with_a_recommendation(place: Path, comparison: Done) -> None:
    assert comparison.code == 0, comparison.out
    values = comparison.of("result")[-1]["values"]
    assert values["strategy"] in ("scratch", "all")
    assert values["verdict"] in ("clear", "lean", "cannot tell")
    assert 0 <= values["probability"] <= 1
    assert len(values["sentences"]) >= 3
    assert (values["trainings"], values["failed"]) == (4 * 3 * 2, 0)
    assert Path(values["report"]).exists()


def test_comparing_tests_on_every_patient_once(place: Path, comparison: Done) -> None:
    found = rows(place / "which" / "scores.csv")
    assert {row["n"] for row in found} == {"2", "5", "7"}
    tested = [(row["n"], row["strategy"], row["patient"]) for row in found if row["region"] == "whole"]
    assert len(tested) == len(set(tested)) == 3 * 2 * PATIENTS


def test_with_three_sizes_it_says_what_more_cases_would_bring(comparison: Done) -> None:
    said = " ".join(comparison.of("result")[-1]["values"]["sentences"])
    assert "more annotated patients would bring" in said or "patients to train on, expect" in said


def test_too_few_patients_are_refused(place: Path, tmp_path: Path) -> None:
    done = run("compare", write_dataset(tmp_path / "few", 3), *FEW, "--out", tmp_path / "out")
    assert done.code == 2
    assert done.told == error(
        "3 annotated patients are too few to compare strategies.",
        "Annotate 4 or more; until then use the strategy all.",
    )


@pytest.mark.parametrize(
    ("option", "told"), [(("--folds", 1), "--folds cannot be 1."), (("--seed", 7), "No such option: --seed")]
)
def test_comparing_refuses_what_has_no_meaning(place: Path, tmp_path: Path, option: tuple[Any, ...], told: str) -> None:
    done = run("compare", tumours(place), *FEW, *option, "--out", tmp_path / "out")
    assert done.code == 2
    assert told in done.err + " ".join(done.told)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--protocol", "big"), "There is no protocol 'big'."),
        (("--sizes", "many"), "--sizes cannot be 'many'."),
        (("--sizes", "20,50"), "6 patients are left to train on, beside 2 to test on and 2 that choose the epoch"),
        (("--train", "pace=3"), "--train cannot be 'pace=3'."),
        (("--strategies", "some"), "There is no strategy 'some'."),
        (("--workers", -1), "--workers cannot be -1."),
        (("--source", "nothing"), "nothing"),
    ],
)
def test_bad_options_are_refused_before_anything_is_trained(
    place: Path, tmp_path: Path, options: tuple[object, ...], cause: str
) -> None:
    done = run("study", tumours(place), *SMOKE, *options, "--out", tmp_path / "out", "--cache", place / "cache")
    assert done.code == 2
    assert cause in " ".join(done.told)
    assert not list(tmp_path.rglob("outcome.json"))
