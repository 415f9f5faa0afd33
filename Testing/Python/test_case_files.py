"""CaseFiles: the files of one visit."""

from pathlib import Path

import pytest

from TransferSegLib.case_files import CHANNELS, REFERENCE_ORDER, CaseFiles, as_files
from TransferSegLib.errors import InputError


def says(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_the_reference_channel_is_one_of_the_channels():
    assert CHANNELS == ("t1", "t1c", "t2", "flair")
    assert sorted(REFERENCE_ORDER) == sorted(CHANNELS)


def test_patient_is_the_case_unless_told():
    assert CaseFiles("p1", {"t1": Path("a")}).patient == "p1"
    assert CaseFiles("p1-visit2", {"t1": Path("a")}, patient="p1").patient == "p1"


@pytest.mark.parametrize(("name", "channels"), [("", {"t1": Path("a")}), ("p1", {})])
def test_needs_a_name_and_an_image(name, channels):
    assert says(CaseFiles, name, channels) == f"Case '{name}' has no name or no images. Give at least one channel."


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\\b", "../../etc/passwd", "a\0b"])
def test_its_name_cannot_lead_out_of_the_output_folder(name):
    assert says(CaseFiles, name, {"t1": Path("a")}) == f"'{name}' cannot be the name of a case. Leave out slashes."


def test_says_which_channels_are_missing():
    files = CaseFiles("p1", {"t2": Path("a"), "flair": Path("b")})
    files.require(["flair"])
    assert says(files.require, CHANNELS) == (
        "Case 'p1' has no channel t1, t1c; it has flair, t2."
        " Add the image, name it so that it is recognised, or list it in a manifest CSV."
    )


def test_can_be_made_from_a_mapping():
    files = as_files({"t1": "a.nii"}, "p1")
    assert files == CaseFiles("p1", {"t1": Path("a.nii")})
    assert as_files(files) is files
    files = as_files({"t1": "a.nii", "brain": "m.nii"})
    assert files == CaseFiles("case", {"t1": Path("a.nii")}, brain=Path("m.nii"))
    assert says(as_files, 3) == "3 is no case. Give a mapping of channel names to files, or a folder."


@pytest.mark.parametrize("role", ["channel", "label", "brain"])
def test_it_knows_its_own_files_however_they_are_reached(tmp_path, role):
    image, other, extra = tmp_path / "a.nii", tmp_path / "b.nii", tmp_path / "c.nii"
    image.touch()
    other.touch()
    files = {"channel": {"channels": {"t1": image}}, "label": {"label": image}, "brain": {"brain": image}}[role]
    case = CaseFiles("p1", **{"channels": {"t1": extra}, **files})
    assert case.owns(image)
    assert case.owns(tmp_path / "." / "x" / ".." / "a.nii") == (tmp_path / "x").exists()
    (tmp_path / "link.nii").hardlink_to(image)
    assert case.owns(tmp_path / "link.nii")
    assert not case.owns(other)
    assert not case.owns(extra)  # which does not exist
