"""Which label scheme is meant: what the user says, then what the data's layout says, then the values themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import (
    DrawFn,
    booleans,
    characters,
    composite,
    dictionaries,
    integers,
    lists,
    none,
    permutations,
    sampled_from,
    text,
    tuples,
)

from TransferSegLib.errors import InputError
from TransferSegLib.grid import Grid
from TransferSegLib.labels import GLIOMA, LESION, LabelClass, LabelScheme
from TransferSegLib.schemes import choose_scheme
from TransferSegLib.volume import Volume, write_volume

STROKE = LabelScheme.from_names("stroke", {"background": 0, "infarct": 1, "penumbra": 2})


@composite
def schemes(draw: DrawFn) -> LabelScheme:
    """Any scheme that a user can make: names with spaces, in any alphabet, codes in any order, any colors."""
    names = draw(lists(text(characters(exclude_categories=["Cs"]), min_size=1), min_size=2, max_size=6, unique=True))
    codes = iter(draw(permutations(range(256)))[: 2 * len(names)])
    color = tuples(*[integers(0, 255)] * 3)
    meaning = none() | tuples(text("0123456789", min_size=6), text(characters(exclude_categories=["Cs"])))
    classes = []
    for name in names:
        own = tuple(next(codes) for _ in range(draw(integers(1, 2))))
        classes.append(LabelClass(name, own, draw(color), draw(meaning)))
    members = lists(sampled_from(names[1:]), min_size=1, unique=True).map(tuple)
    return LabelScheme(draw(sampled_from(names)), tuple(classes), draw(dictionaries(sampled_from(names), members)))


def label_file(path: Path, *values: int) -> Path:
    data = np.zeros((4, 4, 4), np.uint8)
    data.flat[: len(values)] = values
    return write_volume(Volume(data, Grid((4, 4, 4), np.eye(4))), path)


def json_file(path: Path, data: Any) -> str:
    path.write_text(json.dumps(data), "utf-8")
    return str(path)


class TestWhatTheUserSays:
    @pytest.mark.parametrize(("name", "scheme"), [("glioma", GLIOMA), ("lesion", LESION)])
    def test_a_name_wins_over_layout_and_values(self, tmp_path: Path, name: str, scheme: LabelScheme) -> None:
        assert choose_scheme(name, STROKE, [label_file(tmp_path / "a.nii.gz", 7)]) == scheme

    def test_a_scheme_is_taken_as_it_is(self) -> None:
        assert choose_scheme(STROKE, GLIOMA, []) is STROKE

    @pytest.mark.parametrize("kind", [str, Path])
    def test_a_json_file_holds_a_scheme(self, tmp_path: Path, kind: type) -> None:
        path = json_file(tmp_path / "stroke.json", STROKE.to_dict())
        assert choose_scheme(kind(path), GLIOMA, []) == STROKE

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(scheme=schemes(), ascii_only=booleans())
    def test_what_a_scheme_says_of_itself_is_understood_again(
        self, tmp_path: Path, scheme: LabelScheme, ascii_only: bool
    ) -> None:
        path = tmp_path / "schema é.json"
        path.write_text(json.dumps(scheme.to_dict(), ensure_ascii=ascii_only), "utf-8")
        found = choose_scheme(str(path), GLIOMA, [])
        assert found == scheme
        assert list(found.regions) == list(scheme.regions)
        assert found.to_dict() == scheme.to_dict()

    def test_a_json_file_saved_by_windows_notepad_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "stroke.json"
        path.write_text(json.dumps(STROKE.to_dict()), "utf-8-sig")
        assert choose_scheme(path, None, []) == STROKE

    def test_a_dataset_json_of_nnunet_says_it_too(self, tmp_path: Path) -> None:
        info = {"channel_names": {"0": "t1"}, "labels": {"background": 0, "infarct": 1}, "name": "stroke"}
        found = choose_scheme(json_file(tmp_path / "dataset.json", info), None, [])
        assert found.names == ("background", "infarct")

    def test_an_unknown_name_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(InputError) as caught:
            choose_scheme("tumour", GLIOMA, [])
        assert caught.value.cause == "There is no label scheme 'tumour'."
        assert caught.value.remedy == "Use glioma, lesion, or the path of a JSON file."

    def test_a_folder_is_no_scheme(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="There is no label scheme"):
            choose_scheme(tmp_path, None, [])

    @pytest.mark.parametrize("text", ["{not json", "", "\x00\x01"])
    def test_a_file_that_is_no_json_is_refused_by_name(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "broken.json"
        path.write_text(text, "utf-8")
        with pytest.raises(InputError) as caught:
            choose_scheme(path, None, [])
        assert caught.value.cause.startswith(f"{path} is not valid JSON: ")

    def test_a_file_that_is_no_text_is_refused_by_name(self, tmp_path: Path) -> None:
        path = tmp_path / "image.json"
        path.write_bytes(b"\xff\xfe\x00\x80\x81")
        with pytest.raises(InputError) as caught:
            choose_scheme(path, None, [])
        assert caught.value.cause.startswith(f"{path} is not valid JSON: ")

    @pytest.mark.parametrize("data", [[], 3, {}, {"classes": []}, {"classes": 3, "regions": {}, "name": "a"}])
    def test_json_that_is_no_scheme_is_refused(self, tmp_path: Path, data: Any) -> None:
        with pytest.raises(InputError):
            choose_scheme(json_file(tmp_path / "other.json", data), None, [])


class TestWhatTheDataSays:
    def test_the_layout_wins_over_values(self, tmp_path: Path) -> None:
        assert choose_scheme(None, STROKE, [label_file(tmp_path / "a.nii.gz", 1)]) is STROKE

    @pytest.mark.parametrize("values", [(), (1,), (0, 1, 1)])
    def test_only_zero_and_one_are_lesions(self, tmp_path: Path, values: tuple[int, ...]) -> None:
        files = [label_file(tmp_path / "a.nii.gz", *values), label_file(tmp_path / "b.nii.gz", 1)]
        assert choose_scheme(None, None, files) == LESION

    def test_other_values_must_be_explained(self, tmp_path: Path) -> None:
        files = [label_file(tmp_path / "a.nii.gz", 1, 4), label_file(tmp_path / "b.nii.gz", 2)]
        with pytest.raises(InputError) as caught:
            choose_scheme(None, None, files)
        assert caught.value.cause == "What the labels 0, 1, 2, 4 mean is not known."
        assert caught.value.remedy == "Say so with --labels glioma or --labels lesion, or --labels dataset.json."
