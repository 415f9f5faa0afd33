"""The table of scores: what is written is read back, equal studies are equal bytes, bad files are named."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from TransferSegLib.errors import InputError
from TransferSegLib.study.scores import Score, read_scores, write_scores
from TransferSegLib.tables import write_table

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0", exclude_categories=["Cc"]), min_size=1)
VALUES = st.dictionaries(
    st.sampled_from(["dice", "hd95_mm", "sensitivity", "own"]), st.floats(0, 1000) | st.just(math.nan), min_size=1
)
SCORES = st.lists(
    st.builds(Score, *[st.integers(0, 300)] * 3, TEXT, TEXT, TEXT, st.just("") | TEXT, TEXT, VALUES),
    unique_by=lambda score: score.key,
)


def score(case="a", dice=0.5, region="whole", strategy="all", n=20, seed=0, fold=0, **values):
    return Score(fold, seed, n, strategy, case, f"patient {case}", "HGG", region, {"dice": dice, **values})


def test_the_table_has_a_row_for_each_score_sorted_by_its_key(tmp_path):
    scores = [score("b", n=100), score("b"), score("a", hd95_mm=3.0), score("a", seed=1), score("a", strategy="0")]
    path = write_scores(scores, tmp_path / "scores.csv")
    assert path.read_text().splitlines() == [
        "fold,seed,n,strategy,case,patient,group,region,dice,hd95_mm",
        "0,0,20,0,a,patient a,HGG,whole,0.5,",
        "0,0,20,all,a,patient a,HGG,whole,0.5,3",
        "0,0,20,all,b,patient b,HGG,whole,0.5,",
        "0,0,100,all,b,patient b,HGG,whole,0.5,",
        "0,1,20,all,a,patient a,HGG,whole,0.5,",
    ]


def test_metrics_stand_in_the_order_of_the_evaluation_whatever_the_order_of_the_scores(tmp_path):
    first = score("a", lesion_f1=1.0, hd95_mm=2.0)
    second = score("b", area=3.0)
    header = write_scores([first, second], tmp_path / "a.csv").read_text().splitlines()[0]
    assert header.split(",")[8:] == ["dice", "hd95_mm", "lesion_f1", "area"]
    write_scores([second, first], tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_nan_is_an_empty_cell_and_comes_back_as_nan(tmp_path):
    (back,) = read_scores(write_scores([score(dice=math.nan)], tmp_path / "scores.csv"))
    assert math.isnan(back.values["dice"])


@given(scores=SCORES, order=st.randoms(use_true_random=False))
def test_what_was_written_is_read_back_and_written_again_as_the_same_bytes(tmp_path_factory, scores, order):
    folder = tmp_path_factory.mktemp("scores")
    path = write_scores(scores, folder / "scores.csv")
    back = read_scores(path)
    assert [item.key for item in back] == sorted(item.key for item in scores)
    by_key = {item.key: item for item in scores}
    for item in back:
        before = by_key[item.key]
        assert (item.patient, item.group) == (before.patient, before.group)
        for metric, value in before.values.items():
            assert item.values[metric] == pytest.approx(value, rel=1e-5, nan_ok=True)
    order.shuffle(back)
    assert write_scores(back, folder / "again.csv").read_bytes() == path.read_bytes()


def test_one_score_twice_is_refused_and_named(tmp_path):
    with pytest.raises(InputError, match=r"scores\.csv was not written: .* seed 0, n 20, strategy all, case a, region"):
        write_scores([score(dice=0.1), score(dice=0.2)], tmp_path / "scores.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("case,region,dice\na,whole,1\n", "no column 'fold'"),
        ("", "no column 'fold'"),
        ("fold,seed,n,strategy,case,patient,group,region,dice\n0,0,many,all,a,p,,whole,1\n", "Row 2 of .*many"),
        ("fold,seed,n,strategy,case,patient,group,region,dice\n0,0,1,all,a,p,,whole,good\n", "Row 2 of .*good"),
        ("fold,seed,n,strategy,case,patient,group,region,dice\n0,0,1,all,a\n", "Row 2 of "),
        ("fold,seed,n,strategy,case,patient,group,region,dice\n0,0,1,all,a,p,,whole,1,2\n", "Row 2 of "),
        ("fold,seed,n,strategy,case,patient,group,region,dice\n0,0,1,all,,p,,whole,1\n", "Row 2 of .*empty"),
        ("fold,seed,n,strategy,case,patient,group,region,dice\n" + "0,0,1,all,a,p,,whole,1\n" * 2, "two scores"),
    ],
)
def test_a_bad_table_is_refused_with_its_name_and_row(tmp_path, content, cause):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=cause) as caught:
        read_scores(path)
    assert "mine.csv" in caught.value.cause


def test_a_missing_file_and_one_that_is_no_text_are_refused_with_their_name(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv"):
        read_scores(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.csv"):
        read_scores(tmp_path / "bytes.csv")


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    path = write_table(["a"], [[1.0]], tmp_path / "table.csv")

    def lines():
        yield [2.0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_table(["a"], lines(), path)
    assert Path(path).read_text() == "a\n1\n"
    assert [item.name for item in tmp_path.iterdir()] == ["table.csv"]
