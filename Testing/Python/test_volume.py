"""Volume: the same array at the same place from every kind of file, and plain words for every kind of bad file."""

import builtins
import errno
import gzip
import os
import struct
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phantoms import GRIDS, make_grid, write_dicom

from TransferSegLib.errors import InputError, ResourceError, TransferSegError
from TransferSegLib.grid import Grid
from TransferSegLib.volume import Volume, check_writable, read_volume, write_volume

GRID = make_grid((1.1, 0.9, 3.0), "LSA", (20, -15, 30), extent=15)
DATA = np.random.default_rng(0).integers(-500, 2000, GRID.shape).astype(np.int16)
ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha")
SHEARED = ["sheared", "everything"]
UPRIGHT = [name for name in GRIDS if name not in SHEARED]


def random(dtype, shape=GRID.shape):
    return (np.random.default_rng(1).random(shape) * 100).astype(dtype)


def save_nifti(path, data=DATA, affine=GRID.affine, sform=1, qform=1, endianness="<", **fields):
    """Write the bytes of a NIfTI file, so that nibabel does not repair the header while it saves."""
    header = nib.Nifti1Header(endianness=endianness)
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    header.set_sform(affine, sform)
    header.set_qform(affine, qform)
    for name, value in {"vox_offset": 352, "scl_slope": 1, "scl_inter": 0, "magic": b"n+1", **fields}.items():
        header[name] = value
    stored = header.binaryblock + bytes(4) + data.astype(data.dtype.newbyteorder(endianness)).tobytes(order="F")
    path.write_bytes(gzip.compress(stored) if path.name.lower().endswith(".gz") else stored)
    return path


def refusal(path):
    """What read_volume says about a file that it cannot use."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    return str(caught.value)


def test_an_array_that_is_not_on_its_grid_is_refused():
    with pytest.raises(InputError, match=r"^An array of the shape \(2, 2, 2\) is not on a grid of \(3, 3, 3\)\.$"):
        Volume(np.zeros((2, 2, 2)), Grid((3, 3, 3), np.eye(4)))


def test_with_data_keeps_everything_else():
    volume = Volume(DATA, GRID, Path("a.nii"), nib.Nifti1Header())
    other = volume.with_data(np.zeros(GRID.shape))
    assert not other.data.any()
    assert (other.grid, other.path, other.header) == (volume.grid, volume.path, volume.header)


class TestRead:
    """One image, however it is stored, is read to one array and one RAS affine."""

    def check(self, path, grid=GRID, atol=1e-4):
        volume = read_volume(path)
        assert volume.path == Path(path)
        assert volume.data.dtype == DATA.dtype
        np.testing.assert_array_equal(volume.data, DATA)
        assert volume.grid.matches(grid, atol)
        return volume

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "a.img"])
    def test_nifti(self, tmp_path, name):
        if name == "a.img":
            nib.save(nib.Nifti1Pair(DATA, GRID.affine), tmp_path / name)
        else:
            save_nifti(tmp_path / name)
        self.check(tmp_path / name)

    def test_nifti_2(self, tmp_path):
        nib.save(nib.Nifti2Image(DATA, GRID.affine), tmp_path / "a.nii.gz")
        self.check(tmp_path / "a.nii.gz")

    def test_nifti_with_an_sform_only(self, tmp_path):
        self.check(save_nifti(tmp_path / "a.nii", sform=2, qform=0))

    def test_nifti_with_a_qform_only(self, tmp_path):
        self.check(save_nifti(tmp_path / "a.nii", sform=0, qform=1, srow_x=[9, 9, 9, 9]))

    def test_nifti_where_both_forms_differ_follows_the_sform(self, tmp_path):
        self.check(save_nifti(tmp_path / "a.nii", qoffset_x=77))

    def test_nifti_with_a_sheared_sform(self, tmp_path):
        grid = make_grid((1.1, 0.9, 3.0), "LSA", (20, -15, 30), shear=0.3, extent=15)
        self.check(save_nifti(tmp_path / "a.nii", affine=grid.affine, sform=1, qform=0), grid)

    def test_big_endian_nifti(self, tmp_path):
        volume = self.check(save_nifti(tmp_path / "a.nii.gz", endianness=">"))
        assert volume.data.dtype.isnative

    def test_nifti_with_a_fourth_dimension_of_one(self, tmp_path):
        nib.save(nib.Nifti1Image(DATA[..., None], GRID.affine), tmp_path / "a.nii.gz")
        self.check(tmp_path / "a.nii.gz")

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_nifti_scaled_by_its_header_is_float32(self, tmp_path, name):
        volume = read_volume(save_nifti(tmp_path / name, scl_slope=0.5, scl_inter=-20))
        assert volume.data.dtype == np.float32
        np.testing.assert_allclose(volume.data, DATA * 0.5 - 20)

    @pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
    def test_itk_files(self, tmp_path, name):
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ GRID.affine
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(DATA.transpose(2, 1, 0)))
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetSpacing(GRID.spacing)
        image.SetDirection((lps[:3, :3] / GRID.spacing).ravel().tolist())
        SimpleITK.WriteImage(image, str(tmp_path / name))
        self.check(tmp_path / name)

    def test_nrrd_in_ras_as_the_format_allows(self, tmp_path):
        # The world of this header is RAS, the one of ITK is LPS.
        axes = " ".join(f"({x:.9f},{y:.9f},{z:.9f})" for x, y, z in GRID.affine[:3, :3].T)
        x, y, z = GRID.affine[:3, 3]
        header = (
            f"NRRD0005\ntype: short\ndimension: 3\nspace: right-anterior-superior\nencoding: raw\nendian: little\n"
            f"sizes: {' '.join(map(str, DATA.shape))}\n"
            f"space directions: {axes}\n"
            f"space origin: ({x:.9f},{y:.9f},{z:.9f})\n\n"
        )
        (tmp_path / "a.nrrd").write_bytes(header.encode() + DATA.astype("<i2").tobytes(order="F"))
        self.check(tmp_path / "a.nrrd")

    @pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
    def test_itk_file_with_a_fourth_dimension_of_one(self, tmp_path, name):
        stored = np.ascontiguousarray(DATA.transpose(2, 1, 0))[None]
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(stored, isVector=False), str(tmp_path / name))
        self.check(tmp_path / name, Grid(DATA.shape, np.diag([-1, -1, 1, 1])))

    def test_dicom_series(self, tmp_path):
        write_dicom(tmp_path / "série 1", DATA, GRID)
        (tmp_path / "série 1" / "notes.txt").write_text("no image")
        self.check(tmp_path / "série 1")

    def test_dicom_series_of_a_tilted_gantry(self, tmp_path):
        # Each slice is moved sideways: the grid is sheared, and read as such.
        grid = make_grid((1.1, 0.9, 3.0), "LSA", (20, -15, 30), shear=0.3, extent=15)
        write_dicom(tmp_path / "tilted", DATA, grid)
        self.check(tmp_path / "tilted", grid)

    def test_path_with_spaces_and_letters_of_other_languages(self, tmp_path):
        folder = tmp_path / "Fälle 2024 · 脳 MRI"
        for name in ("a b.nii.gz", "ü.nrrd", "é.mha"):
            write_volume(Volume(DATA, GRID), folder / name)
            self.check(folder / name)

    def test_path_as_text(self, tmp_path):
        save_nifti(tmp_path / "a.nii")
        assert read_volume(str(tmp_path / "a.nii")).path == tmp_path / "a.nii"

    @pytest.mark.parametrize(
        ("stored", "read"),
        [
            ("u1", np.uint8), ("i1", np.int8), ("u2", np.uint16), ("i4", np.int32),
            ("f4", np.float32), ("f8", np.float32),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("name", ENDINGS)
    def test_integers_keep_their_type_and_floats_become_float32(self, tmp_path, stored, read, name):
        data = random(stored)
        if name.startswith(".nii"):
            nib.save(nib.Nifti1Image(data, GRID.affine), tmp_path / f"a{name}")
        else:
            image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
            SimpleITK.WriteImage(image, str(tmp_path / f"a{name}"))
        volume = read_volume(tmp_path / f"a{name}")
        assert volume.data.dtype == read
        np.testing.assert_array_equal(volume.data, data.astype(read))

    def test_the_array_does_not_depend_on_the_file_any_more(self, tmp_path):
        path = save_nifti(tmp_path / "a.nii", random(np.float32))
        volume = read_volume(path)
        with open(path, "r+b") as file:
            file.seek(352)
            file.write(bytes(1000))
        np.testing.assert_array_equal(volume.data, random(np.float32))


class TestWrite:
    @pytest.mark.parametrize(
        ("name", "grid"),
        [
            *product((".nii", ".nii.gz", ".NII.GZ"), GRIDS),
            *product((".nrrd", ".NRRD", ".mha"), UPRIGHT),
        ],
    )
    def test_what_is_written_is_read_again(self, tmp_path, name, grid):
        grid = GRIDS[grid].window((3, 3, 3), (8, 7, 6))
        volume = Volume(random(np.uint8, grid.shape), grid)
        path = tmp_path / "new" / "folder" / f"a{name}"
        assert write_volume(volume, path) == path
        again = read_volume(path)
        assert again.data.dtype == np.uint8
        np.testing.assert_array_equal(again.data, volume.data)
        assert again.grid.matches(grid, 1e-4)
        assert os.listdir(path.parent) == [path.name]

    @pytest.mark.parametrize("name", ENDINGS)
    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            (bool, np.uint8), ("u1", np.uint8), ("i2", np.int16), (">i2", np.int16), ("u4", np.uint32),
            ("i8", np.int64), ("f2", np.float32), ("f4", np.float32), ("f8", np.float32),
        ],
    )  # fmt: skip
    def test_every_type_of_number_can_be_written(self, tmp_path, name, given, kept):
        data = random(given)
        again = read_volume(write_volume(Volume(data, GRID), tmp_path / f"a{name}"))
        assert again.data.dtype == kept
        np.testing.assert_array_equal(again.data, data.astype(kept))

    def test_other_readers_find_a_nifti_at_the_same_place(self, tmp_path):
        write_volume(Volume(DATA, GRID), tmp_path / "a.nii.gz")
        image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
        for index in ((0, 0, 0), (3, 1, 2)):
            x, y, z = image.TransformIndexToPhysicalPoint(index)
            np.testing.assert_allclose((-x, -y, z), GRID.world(index), atol=1e-4)
            assert image[index] == DATA[index]
        assert nib.load(tmp_path / "a.nii.gz").header.get_xyzt_units()[0] == "mm"

    def test_a_sheared_nifti_has_no_qform_since_that_would_lie(self, tmp_path):
        grid = GRIDS["sheared"]
        write_volume(Volume(random(np.uint8, grid.shape), grid), tmp_path / "a.nii")
        header = nib.load(tmp_path / "a.nii").header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)

    @pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 1), (4, 0), (0, 1), (0, 3)])
    @pytest.mark.parametrize("endianness", ["<", ">"])
    def test_a_result_keeps_the_conventions_of_its_reference(self, tmp_path, sform, qform, endianness):
        path = save_nifti(tmp_path / "in.nii.gz", sform=sform, qform=qform, endianness=endianness, xyzt_units=10)
        reference = read_volume(path)
        write_volume(reference.with_data((DATA > 0).astype(np.uint8)), tmp_path / "out.nii.gz")
        before, after = nib.load(path), nib.load(tmp_path / "out.nii.gz")
        np.testing.assert_array_equal(after.affine, before.affine)
        for field in ("sform_code", "qform_code", "xyzt_units", "pixdim", "srow_x", "srow_y", "srow_z", "qoffset_x"):
            np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)
        assert after.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(after.dataobj), DATA > 0)

    def test_a_result_does_not_keep_the_scaling_the_window_and_the_comments_of_its_reference(self, tmp_path):
        save_nifti(tmp_path / "in.nii", scl_slope=7, cal_max=40, descrip=b"Jane Doe", intent_code=3)
        image = nib.load(tmp_path / "in.nii")
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"born 1960"))
        nib.save(image, tmp_path / "in.nii")
        assert b"Jane" in (tmp_path / "in.nii").read_bytes()
        assert b"1960" in (tmp_path / "in.nii").read_bytes()
        labels = random(np.uint8) % 4
        write_volume(read_volume(tmp_path / "in.nii").with_data(labels), tmp_path / "out.nii")
        after = nib.load(tmp_path / "out.nii")
        np.testing.assert_array_equal(np.asarray(after.dataobj), labels)
        assert after.header["cal_max"] == 0
        assert after.header["intent_code"] == 0
        assert not after.header.extensions
        assert b"Jane" not in (tmp_path / "out.nii").read_bytes()
        assert b"1960" not in (tmp_path / "out.nii").read_bytes()

    def test_a_header_from_another_place_does_not_move_the_result(self, tmp_path):
        reference = read_volume(save_nifti(tmp_path / "in.nii"))
        grid = GRID.window((2, 2, 1), (4, 5, 2))
        moved = Volume(random(np.uint8, grid.shape), grid, header=reference.header)
        assert read_volume(write_volume(moved, tmp_path / "out.nii")).grid.matches(grid, 1e-4)

    @pytest.mark.parametrize("name", ["in.img", "in.nii"])
    def test_references_in_other_nifti_kinds_are_laid_over_too(self, tmp_path, name):
        image = nib.Nifti1Pair(DATA, GRID.affine) if name == "in.img" else nib.Nifti2Image(DATA, GRID.affine)
        nib.save(image, tmp_path / name)
        reference = read_volume(tmp_path / name)
        assert read_volume(write_volume(reference, tmp_path / "out.nii.gz")).grid.matches(reference.grid, 1e-4)

    def test_the_header_of_the_reference_is_not_changed(self, tmp_path):
        reference = read_volume(save_nifti(tmp_path / "in.nii", cal_max=40))
        write_volume(reference.with_data(random(np.uint8)), tmp_path / "out.nii")
        assert reference.header["cal_max"] == 40
        assert reference.header.get_data_dtype() == np.int16


class TestBadFiles:
    """Each is refused with the path, what is wrong and what to do."""

    @pytest.mark.parametrize("name", ["no.nii.gz", "no.nrrd", "no folder", "a.nii/b.nii"])
    def test_missing(self, tmp_path, name):
        save_nifti(tmp_path / "a.nii")
        assert refusal(tmp_path / name) == f"{tmp_path / name} does not exist. Check the path."

    def test_name_that_no_file_can_have(self, tmp_path):
        path = tmp_path / ("x" * 300 + ".nii")
        assert (
            refusal(path) == f"{path} cannot be read as an image: File name too long. Check that the file is complete."
        )

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.nrrd", "a.mha"])
    def test_empty(self, tmp_path, name):
        (tmp_path / name).touch()
        assert (
            refusal(tmp_path / name) == f"{tmp_path / name} is empty: it has no bytes. Copy or download the file again."
        )

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
    def test_text_called_nifti(self, tmp_path, name):
        (tmp_path / name).write_text("This is no image.\n" * 100)
        assert refusal(tmp_path / name) == f"{tmp_path / name} is not a NIfTI image. Check what kind of file it is."

    @pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd"])
    def test_text_called_nrrd_or_mha(self, tmp_path, name):
        (tmp_path / name).write_text("This is no image.\n" * 100)
        assert refusal(tmp_path / name) == (
            f"{tmp_path / name} is damaged, or of another kind than its name says. Copy or download the file again."
        )

    def test_other_kind_of_file(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"\x89PNG")
        assert refusal(tmp_path / "a.png") == (
            f"{tmp_path / 'a.png'} is no image that we can read."
            " Use a DICOM folder or one of .nii.gz, .nii, .hdr, .img, .nrrd, .nhdr, .mha, .mhd."
        )

    @pytest.mark.parametrize("lost", [1, 4, 8, 100, 1000])
    def test_gzip_that_ends_too_early(self, tmp_path, lost):
        path = save_nifti(tmp_path / "a.nii.gz")
        path.write_bytes(path.read_bytes()[:-lost])
        expected = f"{path} is damaged: the compressed data ends too early. Copy or download the file again."
        assert refusal(path) == expected

    def test_gzip_with_a_changed_byte_in_its_data(self, tmp_path):
        path = save_nifti(tmp_path / "a.nii.gz")
        stored = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), 0))  # not packed: any value is valid
        stored[-100] ^= 1
        path.write_bytes(stored)
        assert refusal(path).startswith(f"{path} cannot be read as an image: CRC check failed")

    def test_nifti_that_ends_too_early(self, tmp_path):
        path = save_nifti(tmp_path / "a.nii")
        whole = 352 + DATA.nbytes
        path.write_bytes(path.read_bytes()[: whole - 10])
        assert refusal(path) == (
            f"{path} cannot be read as an image: Expected {DATA.nbytes} bytes, got {DATA.nbytes - 10} bytes from"
            f" {path}. Check that the file is complete."
        )

    @pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
    def test_itk_file_that_ends_too_early(self, tmp_path, name):
        path = write_volume(Volume(DATA, GRID), tmp_path / name)
        path.write_bytes(path.read_bytes()[:-500])
        assert (
            refusal(path)
            == f"{path} is damaged, or of another kind than its name says. Copy or download the file again."
        )

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_nifti_of_an_impossible_size(self, tmp_path, name):
        header = bytearray(save_nifti(tmp_path / "raw.nii").read_bytes())
        header[42:48] = struct.pack("<3h", -4, 5, 6)
        (tmp_path / name).write_bytes(gzip.compress(header) if name.endswith("gz") else header)
        assert refusal(tmp_path / name) == (
            f"{tmp_path / name} has a header that cannot be used. A grid of the shape (-4, 5, 6) has no voxels."
            " Give a 3D image."
        )

    def test_nifti_larger_than_the_memory(self, tmp_path):
        header = bytearray(save_nifti(tmp_path / "a.nii").read_bytes())
        header[42:48] = struct.pack("<3h", 32767, 32767, 32767)
        (tmp_path / "a.nii").write_bytes(header)
        with pytest.raises(ResourceError) as caught:
            read_volume(tmp_path / "a.nii")
        assert str(caught.value) == (
            f"{tmp_path / 'a.nii'} does not fit into the memory. Crop the image, or use a larger machine."
        )

    def test_nifti_with_an_affine_of_zeros(self, tmp_path):
        path = save_nifti(tmp_path / "a.nii", srow_x=[0] * 4)
        assert refusal(path).startswith(f"{path} has a header that cannot be used. The affine [[0.0, 0.0, 0.0, 0.0], [")
        assert refusal(path).endswith(" cannot be inverted. Repair the header of the image.")

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(changes=st.dictionaries(st.integers(0, 351), st.integers(0, 255), min_size=1, max_size=6))
    @pytest.mark.filterwarnings("ignore")
    def test_a_damaged_header_is_never_a_crash(self, tmp_path, changes):
        stored = bytearray(save_nifti(tmp_path / "a.nii").read_bytes())
        for at, value in changes.items():
            stored[at] = value
        (tmp_path / "b.nii").write_bytes(stored)
        try:
            assert read_volume(tmp_path / "b.nii").data.ndim == 3
        except TransferSegError as error:
            assert str(tmp_path / "b.nii") in error.cause  # noqa: PT017

    @pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha"])
    def test_4d(self, tmp_path, name):
        if name == "a.nii":
            nib.save(nib.Nifti1Image(np.zeros((6, 5, 4, 3), np.int16), np.eye(4)), tmp_path / name)
        else:
            image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 6), np.int16), isVector=False)
            SimpleITK.WriteImage(image, str(tmp_path / name))
        assert refusal(tmp_path / name) == (
            f"{tmp_path / name} is 4D with the shape (6, 5, 4, 3). Extract the one 3D volume that is meant."
        )

    def test_4d_is_refused_before_its_voxels_are_read(self, tmp_path):
        nib.save(nib.Nifti1Image(np.zeros((6, 5, 4, 3), np.int16), np.eye(4)), tmp_path / "a.nii")
        (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:400])
        assert "is 4D" in refusal(tmp_path / "a.nii")

    @pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
    def test_2d(self, tmp_path, name):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((5, 6), np.int16)), str(tmp_path / name))
        assert refusal(tmp_path / name).startswith(f"{tmp_path / name} is 2D with the shape (6, 5).")

    @pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
    def test_colour(self, tmp_path, name):
        if name == "a.nii.gz":
            rgb = np.zeros((6, 5, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
            nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / name)
        else:
            image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
            SimpleITK.WriteImage(image, str(tmp_path / name))
        assert refusal(tmp_path / name) == (
            f"{tmp_path / name} has 3 values in each voxel, as colour images have. Convert it to grey values."
        )

    def test_complex_numbers(self, tmp_path):
        nib.save(nib.Nifti1Image(np.zeros((6, 5, 4), np.complex64), np.eye(4)), tmp_path / "a.nii")
        assert refusal(tmp_path / "a.nii") == (
            f"{tmp_path / 'a.nii'} has values of the type complex64. Convert them to real numbers."
        )

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
    def test_nan_and_infinity(self, tmp_path, bad, name):
        data = random(np.float32)
        data[1, 2, 3] = data[0, 0, 0] = bad
        write_volume(Volume(data, GRID), tmp_path / name)
        assert refusal(tmp_path / name) == (
            f"{tmp_path / name} has 2 voxels that are NaN or infinite."
            " Replace them, for instance by 0, with the tool that made the image."
        )

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
    def test_file_without_permission(self, tmp_path, monkeypatch, name):
        path = write_volume(Volume(DATA, GRID), tmp_path / name)
        path.chmod(0)
        real = builtins.open

        def forbidden(file, *args, **kwargs):  # permissions do not bind root, so that chmod alone shows nothing there
            if str(file) == str(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(file))
            return real(file, *args, **kwargs)

        monkeypatch.setattr(builtins, "open", forbidden)
        assert refusal(path) == f"{path} cannot be read: no permission. Change its permissions."

    def test_folder_without_permission(self, tmp_path, monkeypatch):
        write_dicom(tmp_path / "dicom", DATA, GRID)

        def forbidden(self):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr(Path, "iterdir", forbidden)
        assert (
            refusal(tmp_path / "dicom")
            == f"{tmp_path / 'dicom'} cannot be read: no permission. Change its permissions."
        )

    def test_file_in_a_folder_without_permission(self, tmp_path, monkeypatch):
        def forbidden(self, **_):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr(Path, "exists", forbidden)
        assert (
            refusal(tmp_path / "a.nii")
            == f"{tmp_path / 'a.nii'} cannot be read: no permission. Change its permissions."
        )

    @pytest.mark.parametrize("files", [(), ("a.nii",), ("readme.txt",)])
    def test_folder_without_dicom(self, tmp_path, files, capfd):
        for name in files:
            (tmp_path / name).write_text("text")
        assert refusal(tmp_path) == f"{tmp_path} holds no DICOM series. Give a folder with the files of one series."
        assert capfd.readouterr().err == ""

    def test_folder_with_two_series(self, tmp_path):
        write_dicom(tmp_path, DATA, GRID, series=1)
        write_dicom(tmp_path, DATA, GRID, series=2)
        assert refusal(tmp_path) == f"{tmp_path} holds 2 DICOM series. Give a folder with the files of one series."

    @pytest.mark.parametrize("lost", [1, 2, 3])
    def test_series_with_a_missing_slice(self, tmp_path, lost, capfd):
        write_dicom(tmp_path, DATA, GRID, leave_out=[lost])
        assert refusal(tmp_path) == (
            f"{tmp_path} has slices that are not evenly spaced: some are missing or double."
            " Export the whole series again, and nothing else."
        )
        assert capfd.readouterr().err == ""


class TestBadOutput:
    @pytest.mark.parametrize(("name", "grid"), list(product(("a.nrrd", "a.mha"), SHEARED)))
    def test_a_sheared_grid_where_the_format_has_no_place_for_it(self, tmp_path, name, grid):
        path, grid = tmp_path / "new" / name, GRIDS[grid]
        with pytest.raises(InputError) as caught:
            write_volume(Volume(random(np.uint8, grid.shape), grid), path)
        assert str(caught.value) == f"{path} cannot hold a sheared grid. Write .nii.gz instead."
        assert not path.parent.exists()

    def test_unknown_ending(self, tmp_path):
        for name in ("a.png", "a.nhdr", "a.mhd", "a.hdr", "a"):
            with pytest.raises(InputError) as caught:
                write_volume(Volume(DATA, GRID), tmp_path / name)
            assert str(caught.value) == (
                f"{tmp_path / name} has no image ending we can write. Use .nii.gz, .nii, .nrrd or .mha."
            )
        assert not os.listdir(tmp_path)

    @pytest.mark.parametrize("name", ENDINGS)
    def test_complex_numbers(self, tmp_path, name):
        path = tmp_path / f"a{name}"
        with pytest.raises(InputError) as caught:
            write_volume(Volume(DATA.astype(np.complex64), GRID), path)
        assert str(caught.value) == f"{path} has values of the type complex64. Convert them to real numbers."

    @pytest.mark.parametrize("name", ["a.hdr", "a.mhd", "a.txt", "a"])
    def test_a_name_that_cannot_be_written_is_told_before_there_is_anything_to_write(self, name):
        with pytest.raises(
            InputError, match=r"has no image ending we can write\. Use \.nii\.gz, \.nii, \.nrrd or \.mha"
        ):
            check_writable(name)
        assert [check_writable(f"A{item.upper()}") for item in ENDINGS] == list(ENDINGS)

    @pytest.mark.parametrize("name", ENDINGS)
    def test_a_file_stands_where_a_folder_is_needed(self, tmp_path, name):
        (tmp_path / "taken").write_text("mine")
        path = tmp_path / "taken" / f"a{name}"
        with pytest.raises(InputError) as caught:
            write_volume(Volume(DATA, GRID), path)
        assert str(caught.value) == (
            f"{path} cannot be written: a file stands in the way. Choose another output folder."
        )
        assert (tmp_path / "taken").read_text() == "mine"

    @pytest.mark.parametrize(
        ("code", "kind", "message"),
        [
            (
                errno.ENOSPC,
                ResourceError,
                "The disk is full: {} was not written. Free some space and run the command again.",
            ),
            (errno.EACCES, InputError, "{} cannot be written: no permission. Choose another output folder."),
        ],
    )
    def test_a_failed_nifti_leaves_the_old_one(self, tmp_path, monkeypatch, code, kind, message):
        path = write_volume(Volume(DATA, GRID), tmp_path / "a.nii.gz")
        before = path.read_bytes()

        def fail(image, file):
            Path(file).write_bytes(b"half")
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(nib, "save", fail)
        with pytest.raises(kind) as caught:
            write_volume(Volume(DATA * 2, GRID), path)
        assert str(caught.value) == message.format(path)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["a.nii.gz"]

    @pytest.mark.parametrize(
        ("free", "kind", "message"),
        [
            (10, ResourceError, "The disk is full: {} was not written. Free some space and run the command again."),
            (10**12, InputError, "{} cannot be written: Input/output error. Check the path."),
        ],
    )
    @pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
    def test_a_failed_itk_file_leaves_the_old_one(self, tmp_path, monkeypatch, name, free, kind, message):
        path = write_volume(Volume(DATA, GRID), tmp_path / name)
        before = path.read_bytes()

        def fail(image, file, *_):
            Path(file).write_bytes(b"half")
            raise RuntimeError("ITK says nothing of errno")

        monkeypatch.setattr(SimpleITK, "WriteImage", fail)
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
        with pytest.raises(kind) as caught:
            write_volume(Volume(DATA * 2, GRID), path)
        assert str(caught.value) == message.format(path)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == [name]
