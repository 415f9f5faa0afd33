"""Which label scheme is meant: what the user says, then what the data's layout says, then the values themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from TransferSegLib.errors import InputError
from TransferSegLib.grid import Grid
from TransferSegLib.labels import GLIOMA, LESION, LabelScheme
from TransferSegLib.schemes import choose_scheme
from TransferSegLib.volume import Volume, write_volume

STROKE = LabelScheme.from_names("stroke", {"background": 0, "infarct": 1, "penumbra": 2})


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
