"""Which files an image lies in, so that two images with one header are never taken for one."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from TransferSegLib.cache import cache_key
from TransferSegLib.case_files import CaseFiles
from TransferSegLib.errors import InputError
from TransferSegLib.image_files import image_files
from TransferSegLib.labels import LESION
from TransferSegLib.preprocess import Pipeline
from TransferSegLib.volume import read_volume

SHAPE = (4, 5, 6)


def write(path: Path, value: int, compress: bool = False) -> Path:
    """An image whose header does not tell its values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.full(SHAPE, value, np.int16)
    if path.suffix in (".hdr", ".img"):
        nib.save(nib.Nifti1Pair(data, np.eye(4)), path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(data.T), str(path), compress)
    return path


def key(path: Path) -> str:
    return cache_key(CaseFiles("anna", {"t1": path}), ("t1",), Pipeline(), LESION)


def names(path: Path) -> list[str]:
    return [file.name for file in image_files(path)]


@pytest.mark.parametrize(
    ("name", "compress", "files"),
    [
        ("a.mha", False, ["a.mha"]),
        ("a.nrrd", False, ["a.nrrd"]),
        ("a.mhd", False, ["a.mhd", "a.raw"]),
        ("a.mhd", True, ["a.mhd", "a.zraw"]),
        ("a.nhdr", False, ["a.nhdr", "a.raw"]),
        ("a.nhdr", True, ["a.nhdr", "a.raw.gz"]),
        ("a.hdr", False, ["a.hdr", "a.img"]),
        ("a.img", False, ["a.hdr", "a.img"]),
    ],
)
def test_images_that_differ_in_their_voxels_alone_have_other_keys(
    tmp_path: Path, name: str, compress: bool, files: list[str]
) -> None:
    one, two, same = (
        write(tmp_path / folder / name, value, compress) for folder, value in (("one", 1), ("two", 2), ("same", 1))
    )
    assert names(one) == files
    assert key(one) != key(two)
    assert key(one) == key(same)


def test_a_pair_is_one_image_whichever_of_its_files_is_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdr", 1)
    (tmp_path / "a.mat").write_bytes(b"moved")
    (tmp_path / "ab.img").write_bytes(b"another")
    assert names(path) == names(path.with_suffix(".img")) == ["a.hdr", "a.img", "a.mat"]
    assert key(path) == key(path.with_suffix(".img"))
    (tmp_path / "A.HDR").touch()
    assert "a.img" in names(tmp_path / "A.HDR")


def test_a_file_that_holds_all_is_all(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nii"):
        (tmp_path / name).write_bytes(b"ElementDataFile = b.raw")
        assert names(tmp_path / name) == [name]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.mhd", "ElementDataFile = LIST\n{}"),
        ("a.mhd", "ElementDataFile = LIST 2\n{}"),
        ("a.mhd", "ElementDataFile = part-%d.raw 1 3 1\n"),
        ("a.nhdr", "data file: LIST 2\n{}"),
        ("a.nhdr", "datafile: part-%d.raw 1 3 1 2\n"),
    ],
)
def test_every_file_of_a_list_counts(tmp_path: Path, name: str, told: str) -> None:
    parts = [f"part-{number}.raw" for number in (1, 2, 3)]
    for part in parts:
        (tmp_path / part).touch()
    told = told.format("\n".join(parts) + "\n")
    (tmp_path / name).write_text(f"ObjectType = Image\n{told}" if name == "a.mhd" else f"NRRD0004\n{told}")
    assert names(tmp_path / name) == [name, *parts]


def test_lists_are_what_the_reader_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mhd", 7)
    for number in range(SHAPE[2]):
        np.full(SHAPE[:2], number, np.int16).T.tofile(tmp_path / f"slice{number}.raw")
    listed = "\n".join(f"slice{number}.raw" for number in range(SHAPE[2]))
    header = path.read_text()
    path.write_text(header.replace("a.raw", f"LIST\n{listed}"))
    assert read_volume(path).data[0, 0].tolist() == list(range(SHAPE[2]))
    assert names(path)[1:] == listed.split()
    path.write_text(header.replace("a.raw", f"slice%d.raw 0 {SHAPE[2] - 1} 1"))
    assert read_volume(path).data[0, 0].tolist() == list(range(SHAPE[2]))
    assert names(path)[1:] == listed.split()


def test_a_header_without_its_voxels_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mhd", 1)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(InputError, match=r"a\.raw does not exist: .*a\.mhd has its voxels there"):
        image_files(path)
    with pytest.raises(InputError, match=r"b\.mhd does not exist\. Check the path"):
        image_files(tmp_path / "b.mhd")
