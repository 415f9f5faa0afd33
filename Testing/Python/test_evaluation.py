"""Evaluation of label files: pairing, tables, summaries, and what happens to bad cases."""

import csv
import math
import sys
import types

import numpy as np
import pytest

from TransferSegLib.errors import Cancelled, InputError
from TransferSegLib.evaluation import (
    Evaluation,
    Row,
    case_rows,
    evaluate,
    pair_labels,
    summarise,
    write_metrics,
    write_summary,
)
from TransferSegLib.events import CancelToken, Failure, Progress, Warning
from TransferSegLib.grid import Grid
from TransferSegLib.labels import GLIOMA, LESION
from TransferSegLib.metrics import score_case
from TransferSegLib.volume import Volume, write_volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def cube(start=2, stop=6, value=1):
    labels = np.zeros((10, 9, 8), np.uint8)
    labels[start:stop, 2:6, 2:6] = value
    return labels


def write(path, labels, affine=AFFINE):
    return write_volume(Volume(labels, Grid(labels.shape, affine)), path)


def write_folder(folder, **labels):
    for name, values in labels.items():
        write(folder / f"{name}.nii.gz", values)
    return folder


@pytest.fixture
def events():
    return []


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def read(path):
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def rows_of(values, metric="dice", region="lesion"):
    return [Row(f"case{number}", region, {metric: value}) for number, value in enumerate(values)]


# -------------------------------------------------------------------------------------------------------- evaluation


def test_two_files_give_one_case(tmp_path, events):
    predicted = write(tmp_path / "a.nii.gz", cube(4, 8))
    reference = write(tmp_path / "truth.nrrd", cube())
    evaluation = evaluate(predicted, reference, LESION, on_event=events.append)
    (row,) = evaluation.rows
    assert (row.case, row.region) == ("a", "lesion")
    assert row.values["dice"] == 0.5
    assert row.values["reference_ml"] == pytest.approx(4 * 4 * 4 * 2 / 1000)
    assert row.values["lesion_f1"] == 1
    assert evaluation.failed == ()
    assert of_kind(events, Progress)[-1].step == 1


def test_folders_are_scored_case_by_case_and_region_by_region(tmp_path):
    predicted = write_folder(tmp_path / "p", a=cube(value=2), b=cube(value=2))
    reference = write_folder(tmp_path / "r", a=cube(value=2), b=cube(4, 8, value=2))
    evaluation = evaluate(predicted, reference, GLIOMA)
    assert [(row.case, row.region) for row in evaluation.rows] == [
        (case, region) for case in "ab" for region in ("whole", "core", "enhancing", "necrotic", "edema")
    ]
    assert evaluation.summary("whole", "dice").mean == 0.75
    assert evaluation.summary("core", "dice").mean == 1
    assert evaluation.summary("core", "sensitivity").n == 0


def test_both_codes_of_enhancing_tumour_mean_the_same(tmp_path):
    predicted, reference = write(tmp_path / "p.nii.gz", cube(value=4)), write(tmp_path / "r.nii.gz", cube(value=3))
    assert evaluate(predicted, reference, GLIOMA).summary("enhancing", "dice").mean == 1


def test_in_memory_and_from_files_is_the_same(tmp_path):
    predicted = write(tmp_path / "a.nii.gz", cube(3, 7))
    reference = write(tmp_path / "r.nii.gz", cube())
    scores = score_case(cube(3, 7), cube(), LESION, (1, 1, 2))
    in_memory = Evaluation.of(case_rows("a", scores))
    assert in_memory.rows == evaluate(predicted, reference, LESION).rows


def test_a_label_map_stored_with_flipped_axes_is_the_same_label_map(tmp_path):
    labels = cube(2, 5)
    flipped = np.diag([-1.0, 1.0, 2.0, 1.0])
    flipped[0, 3] = labels.shape[0] - 1
    turned = flipped[:, [2, 0, 1, 3]]
    predicted = write(tmp_path / "p.nrrd", labels[::-1].transpose(2, 0, 1).copy(), turned)
    reference = write(tmp_path / "r.nii.gz", labels)
    values = evaluate(predicted, reference, LESION).rows[0].values
    assert (values["dice"], values["hd95_mm"]) == (1, 0)


def test_another_grid_is_refused_by_name(tmp_path):
    reference = write(tmp_path / "r.nii.gz", cube())
    moved = AFFINE.copy()
    moved[0, 3] = 7
    cases = {
        "it lies up to 7 mm away": write(tmp_path / "moved.nii.gz", cube(), moved),
        "it has the shape (10, 9, 4), not (10, 9, 8)": write(tmp_path / "half.nii.gz", cube()[:, :, :4]),
    }
    for why, predicted in cases.items():
        (failure,) = evaluate(predicted, reference, LESION).failed
        assert failure == Failure(
            "input",
            f"{predicted} is not on the grid of {reference}: {why}.",
            "Segment the image that the reference was drawn on, or resample the predicted label map onto it.",
            predicted.name.split(".")[0],
        )


def test_a_bad_case_does_not_stop_the_others(tmp_path, events):
    predicted = write_folder(tmp_path / "p", a=cube(), b=cube(value=9), c=cube())
    reference = write_folder(tmp_path / "r", a=cube(), b=cube(), c=cube())
    (reference / "a.nii.gz").write_bytes(b"no image")
    evaluation = evaluate(predicted, reference, LESION, tmp_path / "out", events.append)
    assert [row.case for row in evaluation.rows] == ["c"]
    assert [failure.case for failure in evaluation.failed] == ["a", "b"]
    assert evaluation.failed[1].cause == f"{predicted / 'b.nii.gz'} has the unknown label 9."
    assert tuple(of_kind(events, Failure)) == evaluation.failed
    assert [line["case"] for line in read(tmp_path / "out" / "metrics.csv")] == ["c"]


def test_nothing_is_written_when_all_failed_but_the_headers(tmp_path):
    predicted, reference = write(tmp_path / "p.nii.gz", cube(value=7)), write(tmp_path / "r.nii.gz", cube())
    evaluation = evaluate(predicted, reference, LESION, tmp_path / "out")
    assert evaluation.rows == ()
    assert len(evaluation.failed) == 1
    assert (tmp_path / "out" / "metrics.csv").read_text() == "case,region\n"


def test_it_stops_when_cancelled_and_writes_nothing(tmp_path):
    predicted = write_folder(tmp_path / "p", a=cube(), b=cube())
    cancel = CancelToken()

    def stop_after_one(event):
        if isinstance(event, Progress) and event.step == 1:
            cancel.cancel()

    with pytest.raises(Cancelled):
        evaluate(predicted, predicted, LESION, tmp_path / "out", stop_after_one, cancel)
    assert not (tmp_path / "out").exists()


def test_a_listener_that_stops_is_no_bad_case(tmp_path):
    def stop_at_a_warning(event):
        if isinstance(event, Warning):
            raise Cancelled()

    same = write(tmp_path / "p.nii.gz", cube())
    with pytest.raises(Cancelled):
        evaluate(same, same, LESION, on_event=stop_at_a_warning)


def test_volumes_on_a_sheared_grid_are_those_of_its_voxels(tmp_path):
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.5
    predicted = write(tmp_path / "p.nii.gz", cube(), sheared)
    reference = write(tmp_path / "r.nii.gz", cube(), sheared)
    assert evaluate(predicted, reference, LESION).rows[0].values["volume_ml"] == pytest.approx(64 * 2 / 1000)


def test_warnings_of_a_careful_person(tmp_path, events):
    predicted = write(tmp_path / "p.nii.gz", cube())
    empty = write(tmp_path / "r.nii.gz", cube() * 0)
    evaluate(predicted, empty, LESION, on_event=events.append)
    evaluate(predicted, predicted, LESION, on_event=events.append)
    assert of_kind(events, Warning) == [
        Warning(f"{empty} is empty: no voxel is labelled.", "p"),
        Warning(f"{predicted} is compared with itself.", "p"),
    ]


# ----------------------------------------------------------------------------------------------------------- pairing


def names(pairs):
    return [(pair.name, pair.predicted.name, pair.reference.name) for pair in pairs]


def test_folders_match_by_stem_whatever_the_format(tmp_path):
    predicted = write_folder(tmp_path / "p", b=cube(), a=cube())
    events = []
    (predicted / "volumes.csv").write_text("case\n")
    (predicted / "._a.nii.gz").write_bytes(b"left by macOS")
    write(tmp_path / "r" / "a.mha", cube())
    write(tmp_path / "r" / "b.nii", cube())
    pairs = pair_labels(predicted, tmp_path / "r", events.append)
    assert names(pairs) == [("a", "a.nii.gz", "a.mha"), ("b", "b.nii.gz", "b.nii")]
    assert events == []


def test_words_for_label_map_at_the_end_of_a_name_may_differ(tmp_path):
    predicted = write_folder(tmp_path / "p", a=cube(), b_pred=cube(), c=cube(), d_seg=cube())
    reference = write_folder(
        tmp_path / "r", **{"a-seg": cube(), "b_dseg": cube(), "c": cube(), "c_seg": cube(), "d_seg": cube()}
    )
    assert names(pair_labels(predicted, reference)) == [
        ("a", "a.nii.gz", "a-seg.nii.gz"),
        ("b", "b_pred.nii.gz", "b_dseg.nii.gz"),
        ("c", "c.nii.gz", "c.nii.gz"),
        ("d_seg", "d_seg.nii.gz", "d_seg.nii.gz"),
    ]


def test_an_ambiguous_name_is_not_guessed(tmp_path):
    predicted = write_folder(tmp_path / "p", a=cube())
    reference = write_folder(tmp_path / "r", a_seg=cube(), a_mask=cube())
    with pytest.raises(InputError, match="No label map in"):
        pair_labels(predicted, reference)


def test_files_without_partner_are_named(tmp_path, events):
    predicted = write_folder(tmp_path / "p", a=cube(), x=cube(), y=cube())
    reference = write_folder(tmp_path / "r", a=cube(), z=cube())
    pair_labels(predicted, reference, events.append)
    assert events == [
        Warning("Left out, no reference for: x.nii.gz, y.nii.gz."),
        Warning("Left out, no predicted label map for: z."),
    ]


def test_one_file_against_a_folder_does_not_miss_the_others(tmp_path, events):
    predicted = write(tmp_path / "a.nii.gz", cube())
    reference = write_folder(tmp_path / "r", a=cube(), b=cube())
    assert names(pair_labels(predicted, reference, events.append)) == [("a", "a.nii.gz", "a.nii.gz")]
    assert events == []


def test_the_reference_may_be_a_dataset(tmp_path, monkeypatch):
    label = write(tmp_path / "data" / "HGG" / "a" / "a_truth.nii.gz", cube())
    case = types.SimpleNamespace(name="a", label=label)
    without = types.SimpleNamespace(name="b", label=None)
    found = types.SimpleNamespace(find_cases=lambda path: types.SimpleNamespace(cases=(case, without)))
    monkeypatch.setitem(sys.modules, "TransferSegLib.datasets", found)
    predicted = write_folder(tmp_path / "p", a=cube(), b=cube())
    assert names(pair_labels(predicted, tmp_path / "data")) == [("a", "a.nii.gz", "a_truth.nii.gz")]


def test_brats_folders_are_a_dataset(tmp_path):
    pytest.importorskip("TransferSegLib.datasets")
    for name in ("BraTS-01", "BraTS-02"):
        for kind in ("t1", "t1c", "t2", "flair", "seg"):
            write(tmp_path / "data" / name / f"{name}_{kind}.nii.gz", cube(value=2))
    predicted = write_folder(tmp_path / "p", **{"BraTS-01": cube(value=2), "BraTS-02": cube(value=2)})
    evaluation = evaluate(predicted, tmp_path / "data", GLIOMA)
    assert evaluation.summary("whole", "dice").n == 2
    assert evaluation.failed == ()


@pytest.mark.parametrize("missing", ["predicted", "reference"])
def test_a_missing_path_is_told(tmp_path, missing):
    paths = {"predicted": write(tmp_path / "a.nii.gz", cube()), "reference": write(tmp_path / "b.nii.gz", cube())}
    paths[missing] = tmp_path / "none.nii.gz"
    with pytest.raises(InputError) as caught:
        pair_labels(**paths)
    assert str(caught.value) == f"{tmp_path / 'none.nii.gz'} does not exist. Check the path."


def test_no_match_at_all_is_an_error(tmp_path):
    predicted = write_folder(tmp_path / "p", a=cube(), b=cube(), c=cube(), d=cube())
    reference = write_folder(tmp_path / "r", x=cube())
    with pytest.raises(InputError) as caught:
        evaluate(predicted, reference, LESION)
    assert caught.value.cause == (
        f"No label map in {predicted} has a reference in {reference}: a, b, c and 1 more against x."
    )
    assert caught.value.remedy == "Name each predicted file after its case."


def test_other_unusable_arguments_are_told(tmp_path):
    predicted = write_folder(tmp_path / "p", a=cube())
    file = write(tmp_path / "r.nii.gz", cube())
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"p is a folder, but .*r\.nii\.gz is a file\. Give two files or two folders\."
    ):
        pair_labels(predicted, file)
    with pytest.raises(InputError, match="empty holds no label maps"):
        pair_labels(tmp_path / "empty", predicted)
    write(predicted / "a.nrrd", cube())
    with pytest.raises(InputError, match=r"p holds both a\.nii\.gz and a\.nrrd\. Keep one of them\."):
        pair_labels(predicted, predicted)


# --------------------------------------------------------------------------------------------------------- summaries


def test_a_summary_by_hand():
    (item,) = summarise(rows_of([0.2, 0.4, 0.6, 1.0, math.nan]))
    assert (item.region, item.metric, item.n) == ("lesion", "dice", 4)
    assert (item.mean, item.median) == (pytest.approx(0.55), pytest.approx(0.5))
    assert item.sd == pytest.approx(np.std([0.2, 0.4, 0.6, 1.0], ddof=1))
    assert (item.q1, item.q3) == (pytest.approx(0.35), pytest.approx(0.7))
    assert (item.min, item.max) == (0.2, 1.0)
    assert 0.2 < item.ci95_low < item.mean < item.ci95_high < 1


def test_the_interval_is_the_bootstrap_of_scipy_and_has_a_seed():
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).normal(10, 2, 30)
    expected = bootstrap((values,), np.mean, n_resamples=9999, random_state=5).confidence_interval
    (item,) = summarise(rows_of(values), seed=5)
    assert (item.ci95_low, item.ci95_high) == pytest.approx(tuple(expected))
    # About 1.96 standard errors to each side.
    assert item.ci95_high - item.ci95_low == pytest.approx(2 * 1.96 * item.sd / math.sqrt(30), rel=0.1)
    assert summarise(rows_of(values), seed=5) == (item,)
    assert summarise(rows_of(values), seed=6) != (item,)


@pytest.mark.filterwarnings("error")
def test_intervals_of_few_or_equal_values():
    def interval(values):
        (item,) = summarise(rows_of(values))
        return item.ci95_low, item.ci95_high

    assert all(math.isnan(end) for end in interval([0.5]))
    assert all(math.isnan(end) for end in interval([math.nan]))
    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    assert interval([0, 1]) == (0, 1)
    tiny = interval([0.1, np.nextafter(0.1, 1), 0.1])
    assert all(end == pytest.approx(0.1) for end in tiny)


def test_bca_failing_falls_back_to_percentiles(monkeypatch):
    import scipy.stats

    asked = []
    real = scipy.stats.bootstrap

    def bootstrap(data, statistic, method, **options):
        asked.append(method)
        found = real(data, statistic, method="percentile", **options)
        if method == "BCa":
            found.confidence_interval = (math.nan, math.nan)
        return found

    monkeypatch.setattr(scipy.stats, "bootstrap", bootstrap)
    (item,) = summarise(rows_of([0.1, 0.5, 0.9]))
    assert asked == ["BCa", "percentile"]
    assert 0.1 <= item.ci95_low < item.ci95_high <= 0.9


def test_a_summary_does_not_depend_on_what_else_is_summed_up():
    alone = summarise(rows_of([0.1, 0.5, 0.9]))
    among = summarise([*rows_of([3, 4, 5], "hd95_mm", "whole"), *rows_of([0.1, 0.5, 0.9])])
    assert alone[0] in among
    assert [item.region for item in among] == ["whole", "lesion"]


def test_asking_for_what_was_not_measured_is_told():
    with pytest.raises(InputError, match="There is no metric 'dice' of a region 'core'"):
        Evaluation.of(rows_of([1])).summary("core", "dice")


# ------------------------------------------------------------------------------------------------------------ tables


def test_metrics_are_written_as_a_tidy_table(tmp_path):
    rows = [Row("a", "lesion", {"dice": 2 / 3, "n": 3}), Row("b", "lesion", {"dice": math.nan}), Row("ç, d", "x", {})]
    path = write_metrics(rows, tmp_path / "new" / "metrics.csv")
    assert path.read_bytes() == 'case,region,dice,n\na,lesion,0.666667,3\nb,lesion,,\n"ç, d",x,,\n'.encode()


def test_the_summary_is_written_with_empty_cells(tmp_path):
    rows = [*rows_of([0.5]), *rows_of([math.nan], "sensitivity")]
    path = write_summary(summarise(rows), tmp_path / "s.csv")
    assert path.read_text().splitlines() == [
        "region,metric,n,mean,median,sd,q1,q3,min,max,ci95_low,ci95_high",
        "lesion,dice,1,0.5,0.5,,0.5,0.5,0.5,0.5,,",
        "lesion,sensitivity,0,,,,,,,,,",
    ]


@pytest.mark.parametrize(
    ("out", "files"),
    [("out", ["out/metrics.csv", "out/metrics_summary.csv"]), ("x/Fold1.csv", ["x/Fold1.csv", "x/Fold1_summary.csv"])],
)
def test_out_is_a_folder_or_a_csv(tmp_path, out, files):
    predicted = write_folder(tmp_path / "p", a=cube(3, 7), b=cube())
    reference = write_folder(tmp_path / "r", a=cube(), b=cube())
    evaluation = evaluate(predicted, reference, LESION, tmp_path / out)
    written = [tmp_path / file for file in files]
    assert sorted(written[0].parent.iterdir()) == written
    rows, summary = (read(path) for path in written)
    assert [row["case"] for row in rows] == ["a", "b"]
    assert float(rows[0]["dice"]) == pytest.approx(evaluation.rows[0].values["dice"], rel=1e-5)
    dice = next(row for row in summary if row["metric"] == "dice")
    assert (dice["region"], dice["n"], float(dice["mean"])) == ("lesion", "2", 0.875)


def test_an_old_table_survives_a_failed_write(tmp_path, monkeypatch):
    path = write_metrics(rows_of([0.5]), tmp_path / "metrics.csv")
    before = path.read_bytes()
    with pytest.raises(RuntimeError):
        write_metrics([Row("a", "b", {"dice": Unprintable(1)})], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Unprintable(float):
    def __format__(self, spec):
        raise RuntimeError


def test_the_table_for_printing():
    rows = [*rows_of([0.5, 0.5]), *rows_of([math.nan], "dice", "core"), *rows_of([0.25], "dice", "one")]
    assert Evaluation.of(rows).to_table() == [
        ["region", "cases", "dice"],
        ["lesion", "2", "0.5 [0.5, 0.5]"],
        ["core", "1", "-"],
        ["one", "1", "0.25"],
    ]
    assert Evaluation.of([]).to_table() == [["region", "cases"]]
