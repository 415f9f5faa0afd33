"""Case: the images of one visit, brought to one grid through the world."""

from dataclasses import replace

import numpy as np
import pytest
from phantoms import BALL_ML, CENTRE, GRIDS, SOFT_BALL_ML, ball, centre_of, make_grid, soft_ball, volume_ml, write_dicom

from TransferSegLib.case import load_case
from TransferSegLib.case_files import CaseFiles, as_files
from TransferSegLib.errors import InputError
from TransferSegLib.events import Warning
from TransferSegLib.labels import GLIOMA, LESION
from TransferSegLib.volume import Volume, read_volume, write_volume


def save(path, data, grid):
    return write_volume(Volume(data, grid), path)


def says(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.fixture
def visit(tmp_path):
    """A function that writes a sphere on one grid for each channel, and a label map if asked to."""

    def make(label=None, values=None, **grids):
        channels = {name: save(tmp_path / f"{name}.nii.gz", soft_ball(grid), grid) for name, grid in grids.items()}
        if label is None:
            return CaseFiles("p1", channels)
        values = ball(label).astype(np.uint8) if values is None else values
        return CaseFiles("p1", channels, label=save(tmp_path / "seg.nii.gz", values, label))

    return make


class TestChannelsMeetInTheWorld:
    @pytest.mark.parametrize("flair", ["flipped", "permuted", "oblique"])
    @pytest.mark.parametrize("t1", ["everything", "anisotropic", "sheared", "axis-aligned"])
    def test_a_sphere_is_at_one_place_in_all_channels(self, visit, t1, flair):
        case = load_case(visit(t1=GRIDS[t1], flair=GRIDS[flair]), ("t1", "flair"))
        assert case.grid.matches(GRIDS[flair], 1e-4)
        for name, image in case.channels.items():
            assert image.dtype == np.float32, name
            assert image.shape == case.grid.shape, name
            assert volume_ml(image, case.grid) == pytest.approx(SOFT_BALL_ML, rel=0.005), name
            np.testing.assert_allclose(centre_of(image, case.grid), CENTRE, atol=0.05, err_msg=name)

    def test_files_of_every_kind_meet(self, tmp_path):
        grid, oblique = make_grid((1, 1, 2)), make_grid((1.1, 1, 1.2), "LSA", (10, 20, -15))
        write_dicom(tmp_path / "t1", (soft_ball(oblique) * 1000).astype(np.int16), oblique)
        files = {
            "t1": tmp_path / "t1",
            "t1c": save(tmp_path / "t1c.nrrd", soft_ball(oblique), oblique),
            "t2": save(tmp_path / "t2.mha", soft_ball(GRIDS["flipped"]), GRIDS["flipped"]),
            "flair": save(tmp_path / "flair.nii", soft_ball(grid), grid),
        }
        case = load_case(as_files(files))
        for name, image in case.channels.items():
            np.testing.assert_allclose(centre_of(image, case.grid), CENTRE, atol=0.05, err_msg=name)

    def test_channels_on_one_grid_are_not_touched(self, visit, tmp_path):
        grid = GRIDS["everything"]
        case = load_case(visit(t1=grid, flair=grid), ("t1", "flair"))
        assert case.channels["t1"].tobytes() == soft_ball(grid).tobytes()

    def test_a_flipped_channel_is_copied_bit_for_bit(self, visit):
        case = load_case(visit(t1=GRIDS["permuted"], flair=GRIDS["axis-aligned"]), ("t1", "flair"))
        assert case.channels["t1"].tobytes() == soft_ball(GRIDS["axis-aligned"]).tobytes()


class TestReference:
    fine, coarse = make_grid(), make_grid((2, 2, 2))

    @pytest.mark.parametrize(
        ("channels", "chosen"),
        [
            (("t1", "t1c", "t2", "flair"), "flair"),
            (("t1", "t1c", "t2"), "t1c"),
            (("t1", "t2"), "t2"),
            (("t1", "dwi"), "t1"),
            (("dwi", "adc"), "dwi"),
        ],
    )
    def test_is_the_channel_on_which_people_draw(self, visit, channels, chosen):
        files = visit(**{name: self.fine if name == chosen else self.coarse for name in channels})
        case = load_case(files, channels)
        assert case.reference.path.name == f"{chosen}.nii.gz"
        assert case.grid.matches(self.fine, 1e-4)

    def test_is_the_channel_that_the_label_map_lies_on(self, visit):
        case = load_case(visit(label=self.fine, t1=self.fine, flair=self.coarse), ("t1", "flair"), LESION)
        assert case.reference.path.name == "t1.nii.gz"

    def test_may_be_chosen(self, visit):
        case = load_case(visit(t1=self.fine, flair=self.coarse), ("t1", "flair"), reference="t1")
        assert case.grid.matches(self.fine, 1e-4)

    def test_that_is_not_read_cannot_be_chosen(self, visit):
        files = visit(t1=self.fine, flair=self.coarse)
        assert says(load_case, files, ("flair",), reference="t1") == (
            "The reference channel 't1' is not among flair. Choose one of them."
        )

    def test_chosen_against_the_label_map_is_refused(self, visit):
        files = visit(label=self.fine, t1=self.fine, flair=self.coarse)
        assert says(load_case, files, ("t1", "flair"), LESION, reference="flair") == (
            f"{files.label} is not on the grid of the reference channel 'flair'."
            " Resample the label map onto it, or choose the channel it was drawn on as the reference."
        )


class TestLabel:
    grid = make_grid()

    def test_is_read_with_the_scheme(self, visit):
        values = np.where(ball(self.grid), 4, 0).astype(np.uint8)
        case = load_case(visit(label=self.grid, values=values, flair=self.grid), ("flair",), GLIOMA)
        assert case.label.dtype == np.uint8
        assert set(np.unique(case.label)) == {0, 3}
        assert volume_ml(case.label == 3, case.grid) == pytest.approx(BALL_ML, rel=0.01)
        np.testing.assert_allclose(centre_of(case.label, case.grid), CENTRE, atol=0.05)

    def test_is_not_read_without_a_scheme(self, visit):
        files = visit(label=self.grid, flair=self.grid)
        files.label.write_text("broken")
        assert load_case(files, ("flair",)).label is None

    def test_may_be_stored_as_float(self, visit):
        files = visit(label=self.grid, values=ball(self.grid).astype(np.float32), flair=self.grid)
        np.testing.assert_array_equal(load_case(files, ("flair",), LESION).label, ball(self.grid))

    def test_that_is_missing_is_said(self, visit):
        files = visit(flair=self.grid)
        assert says(load_case, files, ("flair",), LESION) == (
            "Case 'p1' has no reference label map. Add it, or leave the case out."
        )

    def test_that_is_a_missing_file_is_said(self, visit, tmp_path):
        files = CaseFiles("p1", visit(flair=self.grid).channels, label=tmp_path / "no.nii.gz")
        assert says(load_case, files, ("flair",), LESION) == f"{tmp_path / 'no.nii.gz'} does not exist. Check the path."

    def test_of_another_shape_is_refused(self, visit):
        files = visit(label=make_grid((2, 1, 1)), t1=make_grid((1, 1, 4)), flair=self.grid)
        assert says(load_case, files, ("t1", "flair"), LESION) == (
            f"{files.label} has the shape (22, 44, 44), the images have: t1 (44, 44, 11), flair (44, 44, 44)."
            " Resample the label map onto the image it belongs to."
        )

    @pytest.mark.parametrize(
        "elsewhere", [make_grid(codes="LPS"), make_grid(centre=(0, 0, 1)), make_grid(turn=(0, 0, 2))]
    )
    def test_of_the_same_shape_elsewhere_in_space_is_refused(self, visit, elsewhere):
        # Voxel by voxel it would fit: and lie mirrored, or a slice too high.
        files = visit(label=elsewhere, flair=self.grid)
        assert says(load_case, files, ("flair",), LESION) == (
            f"{files.label} has the shape of the images but lies elsewhere in space."
            " Resample the label map onto the image it belongs to."
        )

    def test_with_an_unknown_value_is_refused(self, visit):
        files = visit(label=self.grid, values=ball(self.grid) * np.uint8(7), flair=self.grid)
        assert says(load_case, files, ("flair",), LESION) == (
            f"{files.label} has the unknown label 7. Expected by the scheme 'lesion': 0 = background, 1 = lesion."
            " Relabel the file or choose another --labels, for instance a dataset.json that names every value."
        )

    def test_with_both_3_and_4_is_refused(self, visit):
        values = np.zeros(self.grid.shape, np.uint8)
        values[0], values[1] = 3, 4
        files = visit(label=self.grid, values=values, flair=self.grid)
        assert says(load_case, files, ("flair",), GLIOMA) == (
            f"{files.label} has both 4 and 3, which are different codes of 'enhancing'."
            " The file follows another convention: relabel it."
        )

    def test_that_is_empty_is_a_warning(self, visit):
        seen = []
        files = visit(label=self.grid, values=np.zeros(self.grid.shape, np.uint8), flair=self.grid)
        case = load_case(files, ("flair",), LESION, on_event=seen.append)
        assert not case.label.any()
        assert seen == [Warning(f"{files.label} is empty: no voxel is labelled.", "p1")]


class TestBadImages:
    grid = make_grid(extent=20)

    def test_missing_channel(self, visit):
        assert says(load_case, visit(flair=self.grid)).startswith("Case 'p1' has no channel t1, t1c, t2; it has flair.")

    def test_constant_image(self, tmp_path):
        path = save(tmp_path / "a.nii", np.full(self.grid.shape, 7, np.int16), self.grid)
        assert says(load_case, as_files({"t1": path}), ("t1",)) == (
            f"{path} is constant: every voxel is 7. Give the real image."
        )

    def test_image_with_nan(self, visit, tmp_path):
        data = soft_ball(self.grid).copy()
        data[3, 3, 3] = np.nan
        path = save(tmp_path / "a.nii", data, self.grid)
        assert says(load_case, as_files({"t1": path}), ("t1",)) == (
            f"{path} has 1 voxels that are NaN or infinite."
            " Replace them, for instance by 0, with the tool that made the image."
        )

    def test_channels_that_do_not_overlap(self, visit, tmp_path):
        files = visit(flair=self.grid)
        path = save(tmp_path / "t1.nii", soft_ball(self.grid), make_grid(extent=20, centre=(0, 300, 0)))
        files = as_files({"flair": files.channels["flair"], "t1": path}, "p1")
        assert says(load_case, files, ("t1", "flair")) == (
            f"{path} covers only 0% of the reference image of case 'p1'."
            " The images lie elsewhere in space: check that they belong to one visit, and register them."
        )

    def test_channels_that_hardly_overlap_are_a_warning(self, visit):
        seen = []
        shifted = make_grid(extent=20, centre=(0, 10, 0))
        load_case(visit(t1=shifted, flair=self.grid), ("t1", "flair"), on_event=seen.append)
        assert seen == [Warning("Channel 't1' covers only 50% of the reference image.", "p1")]

    def test_what_counts_is_how_much_of_the_reference_is_covered(self, visit):
        seen = []
        files = visit(t1=self.grid, flair=make_grid(extent=40))
        load_case(files, ("t1", "flair"), reference="t1", on_event=seen.append)
        assert seen == []
        load_case(files, ("t1", "flair"), reference="flair", on_event=seen.append)
        assert seen == [Warning("Channel 't1' covers only 12% of the reference image.", "p1")]

    def test_channels_that_overlap_well_are_no_warning(self, visit):
        seen = []
        shifted = make_grid(extent=20, centre=(0, 3, 0))
        load_case(visit(t1=shifted, flair=self.grid), ("t1", "flair"), on_event=seen.append)
        assert seen == []


def test_a_result_made_on_the_case_lies_exactly_over_the_reference(visit, tmp_path):
    case = load_case(visit(t1=GRIDS["everything"], flair=GRIDS["oblique"]), ("t1", "flair"))
    result = case.reference.with_data((case.channels["t1"] > 0.5).astype(np.uint8))
    found = write_volume(result, tmp_path / "result.nii.gz")
    np.testing.assert_array_equal(read_volume(found).grid.affine, case.grid.affine)


class TestBrainMask:
    def test_comes_onto_the_reference_grid_through_the_world(self, visit, tmp_path):
        files = visit(t1=GRIDS["axis-aligned"], flair=GRIDS["everything"])
        assert load_case(files, ("t1", "flair")).brain is None
        grid = GRIDS["oblique"]
        files = replace(files, brain=save(tmp_path / "mask.nii.gz", ball(grid).astype(np.uint8) * 7, grid))
        case = load_case(files, ("t1", "flair"), reference="t1")
        assert case.brain.dtype == bool
        expected = ball(GRIDS["axis-aligned"])
        assert 2 * (case.brain & expected).sum() / (case.brain.sum() + expected.sum()) > 0.97

    def test_that_lies_elsewhere_is_told(self, visit, tmp_path):
        grid = GRIDS["axis-aligned"]
        path = save(tmp_path / "mask.nii.gz", np.zeros(grid.shape, np.uint8), grid)
        files = replace(visit(t1=grid), brain=path)
        assert says(load_case, files, ("t1",)) == (
            f"{path} has no brain where the reference image of case 'p1' lies."
            " Give the mask that belongs to these images, or leave it out."
        )
