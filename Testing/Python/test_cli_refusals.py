"""What the command refuses: data that is bad and options that make no sense, each with its exact words and code 2."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from brains import write_dataset
from command import TINY, TORCH, error, private_folders, run

from TransferSegLib import registry

SHIPPED = sorted(path.name for path in registry.SHIPPED_FOLDER.iterdir() if (path / "model.json").exists())


@pytest.fixture(scope="module", autouse=True)
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with private_folders(tmp_path_factory.mktemp("homes")) as folder:
        yield folder


@pytest.fixture(scope="module")
def tumours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "tumours", 4)


@pytest.fixture(scope="module")
def trained(tumours: Path) -> Path:
    """The folder of a run."""
    out = tumours.parent / "trained"
    assert run("pretrain", tumours, "--out", out, "--epochs", 1, *TINY).code == 0
    return out


def change(path: Path, edit: Callable[[np.ndarray[Any, Any]], Any] | None = None, shift_mm: float = 0) -> Path:
    """Rewrite an image with other values or in another place."""
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    values = np.asanyarray(image.dataobj).copy()
    changed = edit(values) if edit is not None else None
    affine = np.array(image.affine)
    affine[:3, 3] += shift_mm
    nib.save(nib.Nifti1Image(values if changed is None else changed, affine), path)
    return path


def poke(value: float) -> Callable[[np.ndarray[Any, Any]], None]:
    def edit(values: np.ndarray[Any, Any]) -> None:
        values[8, 8, 8] = value

    return edit


def cut_short(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-200])
    return path


def as_text(path: Path) -> Path:
    path.write_text("I am no image.")
    return path


def unzipped_as_gz(path: Path) -> Path:
    path.write_bytes(gzip.decompress(path.read_bytes()))
    return path


class TestBadData:
    """One case of a dataset is bad: a training does not start, and says which file and why."""

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        return write_dataset(tmp_path / "data", 4)

    @staticmethod
    def refused(data: Path, *options: object) -> list[str]:
        out = data.parent / "out"
        done = run("finetune", data, "--strategy", "scratch", "--out", out, "--epochs", 1, *TINY, *options)
        assert done.code == 2
        assert done.out == ""
        assert "Traceback" not in done.err
        assert not out.exists()
        assert len(done.told) == 2, done.told
        return done.told

    @staticmethod
    def file(data: Path, channel: str) -> Path:
        return data / "HGG" / "Brats18_Site00_1" / f"Brats18_Site00_1_{channel}.nii.gz"

    def test_a_missing_channel(self, data: Path) -> None:
        self.file(data, "t2").unlink()
        assert self.refused(data) == error(
            "Case 'Brats18_Site00_1' has no channel t2; it has flair, t1, t1c.",
            "Add the image, name it so that it is recognised, or list it in a manifest CSV.",
        )

    def test_images_that_do_not_overlap(self, data: Path) -> None:
        path = change(self.file(data, "t1"), shift_mm=500)
        assert self.refused(data) == error(
            f"{path} covers only 0% of the reference image of case 'Brats18_Site00_1'.",
            "The images lie elsewhere in space: check that they belong to one visit, and register them.",
        )

    def test_a_label_map_of_another_shape(self, data: Path) -> None:
        path = change(self.file(data, "seg"), lambda values: values[:8])
        shapes = ", ".join(f"{channel} (16, 16, 16)" for channel in ("t1", "t1c", "t2", "flair"))
        assert self.refused(data) == error(
            f"{path} has the shape (8, 16, 16), the images have: {shapes}.",
            "Resample the label map onto the image it belongs to.",
        )

    def test_an_unknown_label(self, data: Path) -> None:
        path = change(self.file(data, "seg"), poke(7))
        cause, remedy = self.refused(data)
        assert cause == f"Error: {path} has the unknown label 7."
        assert remedy == (
            "       Expected by the scheme 'glioma': 0 = background, 1 = necrotic, 2 = edema, 4/3 = enhancing. "
            "Relabel the file or choose another --labels, for instance a dataset.json that names every value."
        )

    def test_a_voxel_that_is_no_number(self, data: Path) -> None:
        path = change(self.file(data, "t1c"), poke(np.nan))
        assert self.refused(data) == error(
            f"{path} has 1 voxels that are NaN or infinite.",
            "Replace them, for instance by 0, with the tool that made the image.",
        )

    def test_a_constant_image(self, data: Path) -> None:
        path = change(self.file(data, "t2"), lambda values: np.full_like(values, 5))
        assert self.refused(data) == error(f"{path} is constant: every voxel is 5.", "Give the real image.")

    def test_a_4d_image(self, data: Path) -> None:
        path = change(self.file(data, "flair"), lambda values: np.stack([values, values], -1))
        assert self.refused(data) == error(
            f"{path} is 4D with the shape (16, 16, 16, 2).", "Extract the one 3D volume that is meant."
        )

    def test_a_file_that_was_cut_short(self, data: Path) -> None:
        path = cut_short(self.file(data, "t1"))
        assert self.refused(data) == error(
            f"{path} is damaged: the compressed data ends too early.", "Copy or download the file again."
        )

    def test_a_text_that_is_called_an_image(self, data: Path) -> None:
        path = as_text(self.file(data, "t1"))
        assert self.refused(data) == error(f"{path} is not a NIfTI image.", "Check what kind of file it is.")

    def test_an_image_that_is_not_compressed_as_its_name_says(self, data: Path) -> None:
        path = unzipped_as_gz(self.file(data, "t1"))
        cause, _ = self.refused(data)
        assert str(path) in cause

    def test_a_label_map_without_labels_is_no_more_than_a_warning(self, data: Path) -> None:
        path = change(self.file(data, "seg"), np.zeros_like)
        done = run("pretrain", data, "--out", data.parent / "out", "--validation", "0", "--epochs", 1, *TINY)
        assert done.code == 0
        assert f"Warning: Brats18_Site00_1: {path} is empty: no voxel is labelled." in done.told

    def test_a_held_out_case_that_does_not_exist(self, data: Path) -> None:
        assert self.refused(data, "--held-out", "Brats18_Site00_1,nobody") == error(
            "There is no case 'nobody'.", "Check the names of the cases to hold out."
        )

    @pytest.mark.parametrize("text", ["7", "1.5", "nan", "inf"])
    def test_a_number_that_is_no_share_is_a_name(self, data: Path, text: str) -> None:
        assert self.refused(data, "--held-out", text) == error(
            f"There is no case '{text}'.", "Check the names of the cases to hold out."
        )

    def test_a_share_that_leaves_nothing(self, data: Path) -> None:
        assert self.refused(data, "--held-out", "0.99") == error(
            "A share of 0.99 cannot be split off 4 patients.", "Use a smaller share or more cases."
        )


class TestBadUsage:
    """What is wrong with the options is told before anything is read or written."""

    @pytest.mark.parametrize(
        ("options", "cause", "remedy"),
        [
            (
                ("--strategy", "magic"),
                "There is no strategy 'magic'.",
                "Choose one of scratch, last-three, decoder, all, norm.",
            ),
            (
                ("--augmentation", "flip,elastic"),
                "There is no augmentation 'elastic'.",
                "Choose from flip, affine, bias, gamma, shift, lowres, noise, or give 'none'.",
            ),
            (("--epochs", "-3"), "--epochs cannot be -3.", "Times that every training case is seen."),
            (("--strategy", "all"), "The strategy 'all' needs a source model.", "Give one with --source."),
            (
                ("--source", "nothing-like-it"),
                "There is no model 'nothing-like-it'.",
                f"There are: {', '.join(SHIPPED)}; or give a folder or a .zip.",
            ),
            (
                ("--normalise", "loud", "--strategy", "scratch"),
                "--normalise cannot be 'loud'.",
                "Choose one of zscore, zscore-rescale, minmax.",
            ),
            (
                ("--spacing", "-1", "--strategy", "scratch"),
                "A spacing of (-1.0, -1.0, -1.0) mm cannot be used.",
                "Give 0.1 to 20 mm, for instance 2.",
            ),
            (
                ("--labels", "tumour", "--strategy", "scratch"),
                "There is no label scheme 'tumour'.",
                "Use glioma, lesion, or the path of a JSON file.",
            ),
            (
                ("--licence", "", "--strategy", "scratch", "--epochs", "1", "--spacing", "4"),
                "The model card's 'licence' is wrong: string should have at least 1 character.",
                "Correct the value.",
            ),
            (("--channels", "t1,t1", "--strategy", "scratch"), "The channel 't1' is given twice.", "Give each once."),
            (("--threads", "-2"), "--threads cannot be -2.", "Give 1 or more, or 0 for all."),
            (
                ("--device", "abacus", "--strategy", "scratch"),
                "There is no device 'abacus'.",
                "Use cpu, cuda, cuda:1, mps or auto.",
            ),
        ],
    )
    def test_finetune(self, tumours: Path, tmp_path: Path, options: tuple[str, ...], cause: str, remedy: str) -> None:
        done = run("finetune", tumours, "--out", tmp_path / "out", *options)
        assert done.code == 2
        assert done.err.splitlines() == error(cause, remedy)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("options", "cause"),
        [
            (("--engine", "steam"), "There is no engine 'steam'."),
            (("--device", "abacus"), "There is no device 'abacus'."),
            (("--precision", "float8"), "There is no precision 'float8'."),
        ],
    )
    def test_segment(self, tumours: Path, trained: Path, tmp_path: Path, options: tuple[str, ...], cause: str) -> None:
        done = run("segment", tumours, "--model", trained, "--out", tmp_path / "out", *options)
        assert done.code == 2
        assert done.err.splitlines()[0] == f"Error: {cause}"
        assert not (tmp_path / "out").exists()

    def test_a_file_stands_where_the_folder_should_be(self, tumours: Path, trained: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.write_text("mine")
        expected = error(f"{out} cannot be written: a file stands in the way.", "Choose another output folder.")
        for arguments in (
            ("segment", tumours, "--model", trained, *TORCH),
            ("pretrain", tumours, "--epochs", 1, *TINY),
        ):
            done = run(*arguments, "--out", out)
            assert done.code == 2
            cause, remedy = done.told[-2:]
            assert [re.sub(r"(?<=/out)/\S+", "", cause), remedy] == expected
            assert out.read_text() == "mine"

    def test_a_model_that_was_changed(self, tumours: Path, trained: Path, tmp_path: Path) -> None:
        model = shutil.copytree(trained / "model", tmp_path / "model")
        weights = bytearray((model / "weights.safetensors").read_bytes())
        weights[-1] ^= 1
        (model / "weights.safetensors").write_bytes(weights)
        expected = (
            rf"Error: {re.escape(str(model))}: the weights do not match the card: sha256 [0-9a-f]{{12}}\.\.\., "
            r"expected [0-9a-f]{12}\.\.\., the file was changed or damaged\."
        )
        for arguments in (
            ("segment", tumours, "--model", model, "--out", tmp_path / "out"),
            ("finetune", tumours, "--source", model, "--out", tmp_path / "out"),
            ("models", "verify", model),
            ("models", "install", model),
        ):
            done = run(*arguments)
            assert done.code == 2
            assert re.fullmatch(expected, done.err.splitlines()[0])
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "arguments",
        [("segment",), ("finetune", "data"), ("paint",), ("pretrain", "a", "--out", "b", "--epochs", "many")],
    )
    def test_what_is_missing_or_no_number_is_bad_usage(self, arguments: Sequence[str]) -> None:
        done = run(*arguments)
        assert done.code == 2
        assert done.out == ""
        assert "Usage: transferseg" in done.err
