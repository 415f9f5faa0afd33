"""Formats: what the ending of a file name tells."""

import pytest

from TransferSegLib.formats import IMAGE_ENDINGS, ending, stem


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.nii.gz", (".nii.gz", "a")),
        ("A.NII.GZ", (".nii.gz", "A")),
        ("/data/b.c/sub-01_T1w.nii", (".nii", "sub-01_T1w")),
        ("case.1.mha", (".mha", "case.1")),
        ("a.nrrd", (".nrrd", "a")),
        ("a.txt", ("", "a.txt")),
        ("a.gz", ("", "a.gz")),
        ("dicom", ("", "dicom")),
    ],
)
def test_ending_and_stem(name, expected):
    assert (ending(name), stem(name)) == expected


def test_every_format_is_known_by_its_ending():
    assert {ending(f"a{item.upper()}") for item in IMAGE_ENDINGS} == set(IMAGE_ENDINGS)
