"""Finding cases in the layout of nnU-Net and of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from TransferSegLib.datasets import find_cases
from TransferSegLib.errors import InputError
from TransferSegLib.labels import LESION


def touch(*files: Path) -> None:
    """Only names matter to the finder: empty files will do."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def write(file: Path, text: str, encoding: str = "utf-8") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding)
    return file


def make_nnunet(root: Path, info: dict[str, object], cases: tuple[str, ...] = ("ms_01",), split: str = "Tr") -> None:
    ending = str(info.get("file_ending", ".nii.gz"))
    write(root / "dataset.json", json.dumps(info))
    for case in cases:
        touch(*(root / f"images{split}" / f"{case}_{number:04d}{ending}" for number in (0, 1)))


NNUNET = {
    "channel_names": {"0": "FLAIR", "1": "T1w"},
    "labels": {"background": 0, "lesion": 1},
    "file_ending": ".nii.gz",
}


def error_of(path: Path | str) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        find_cases(path)
    return caught.value.cause, caught.value.remedy


def test_nnunet_channels_and_classes_come_from_dataset_json(tmp_path: Path) -> None:
    info = {
        "name": "Tumours",
        "channel_names": {"0": "T1_Gd", "1": "SWI"},
        "labels": {"background": 0, "core": 2, "edema": 1},
        "file_ending": ".nrrd",
    }
    make_nnunet(tmp_path, info, ("b", "a"))
    touch(tmp_path / "labelsTr" / "a.nrrd", tmp_path / "imagesTr" / "notes.txt", tmp_path / "imagesTs" / "c_0000.nrrd")
    dataset = find_cases(tmp_path)
    a, b = dataset.cases
    assert (dataset.layout, a.name, b.name) == ("nnunet", "a", "b")
    assert list(a.channels.items()) == [
        ("t1c", tmp_path / "imagesTr" / "a_0000.nrrd"),
        ("swi", tmp_path / "imagesTr" / "a_0001.nrrd"),
    ]
    assert (a.label, b.label) == (tmp_path / "labelsTr" / "a.nrrd", None)
    assert dataset.scheme is not None
    assert (dataset.scheme.name, dataset.scheme.names) == ("Tumours", ("background", "edema", "core"))
    assert dataset.scheme.encode(np.array([0, 1, 2])).tolist() == [0, 1, 2]


def test_nnunet_1_has_names_by_value(tmp_path: Path) -> None:
    make_nnunet(tmp_path, {"modality": {"0": "FLAIR", "1": "t1gd"}, "labels": {"0": "background", "1": "lesion"}})
    dataset = find_cases(tmp_path)
    assert list(dataset.cases[0].channels) == ["flair", "t1c"]
    assert dataset.scheme is not None
    assert dataset.scheme.names == LESION.names


def test_nnunet_test_images_count_when_there_are_no_others(tmp_path: Path) -> None:
    make_nnunet(tmp_path, NNUNET, ("new_1", "new_2"), split="Ts")
    assert [case.name for case in find_cases(tmp_path)] == ["new_1", "new_2"]


def test_a_4d_file_of_msd_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "dataset.json", json.dumps({"modality": {"0": "FLAIR"}, "labels": {"0": "background", "1": "x"}}))
    file = tmp_path / "imagesTr" / "BRATS_001.nii.gz"
    touch(file)
    assert error_of(tmp_path) == (
        f"{file} has no channel number: it seems to hold all channels in one 4D file, as in MSD.",
        "Split it into one 3D file per channel: NAME_0000.nii.gz, NAME_0001.nii.gz, ...",
    )


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"labels": {"background": 0, "whole": [1, 2]}}, " has region-based labels: 'whole' is [1, 2], not one value."),
        (
            {"labels": {"background": 0, "x": 1, "ignore": 2}},
            " has the label 'ignore', for voxels that nobody annotated.",
        ),
        ({"labels": {}}, " does not say what the values of the label maps mean."),
        ({"labels": {"x": 1, "y": 2}}, " does not say what the values of the label maps mean."),
        ({"labels": {"background": 0, "x": "one"}}, " does not say what the values of the label maps mean."),
        ({"labels": {"background": 0, "x": 300}}, " does not say what the values of the label maps mean."),
        ({"labels": {"0": "background", "1": "x", "2": "x"}}, " does not say what the values of the label maps mean."),
        ({"channel_names": {}}, " does not give each channel a number and a name of its own."),
        ({"channel_names": ["T1", "T2"]}, " does not give each channel a number and a name of its own."),
        ({"channel_names": {"0": "T1", "1": "t1w"}}, " does not give each channel a number and a name of its own."),
    ],
)
def test_a_dataset_json_that_says_too_little_is_refused(tmp_path: Path, change: dict[str, object], cause: str) -> None:
    make_nnunet(tmp_path, NNUNET | change)
    assert error_of(tmp_path)[0] == f"{tmp_path / 'dataset.json'}{cause}"


def test_a_channel_number_without_a_name_is_refused(tmp_path: Path) -> None:
    make_nnunet(tmp_path, NNUNET | {"channel_names": {"0": "FLAIR"}})
    file, info = tmp_path / "imagesTr" / "ms_01_0001.nii.gz", tmp_path / "dataset.json"
    assert error_of(tmp_path) == (f"{file} is channel 1, which {info} does not name.", "Add its name there.")


def test_a_missing_or_broken_dataset_json_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "imagesTr" / "ms_01_0000.nii.gz")
    info = tmp_path / "dataset.json"
    assert error_of(tmp_path) == (
        f"{info} is missing.",
        "Add it: beside imagesTr it names the channels and the labels.",
    )
    write(info, "{'labels'")
    assert error_of(tmp_path)[0].startswith(f"{info} is not valid JSON: ")
