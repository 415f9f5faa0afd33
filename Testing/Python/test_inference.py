"""Segmenting: from files to a label map that lies over the image in every viewer, to volumes."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from hand_model import EDGE_Z, HEADERS, LESION_AT, LESION_ML, LESION_MM, head, random_model, threshold_model, write_head
from phantoms import GRIDS, ball, centre_of, make_grid, volume_ml, write_dicom

import TransferSegLib as ts  # noqa: N813, as everybody will
from TransferSegLib import inference
from TransferSegLib.case_files import CaseFiles
from TransferSegLib.errors import InputError
from TransferSegLib.events import Warning
from TransferSegLib.inference import InferenceOptions, Segmenter, segment
from TransferSegLib.labels import GLIOMA, LESION, LabelScheme
from TransferSegLib.model import save_model
from TransferSegLib.preprocess import Pipeline
from TransferSegLib.preprocess.brain import FindBrain
from TransferSegLib.preprocess.reorient import Reorient
from TransferSegLib.segment_many import segment_dataset
from TransferSegLib.volume import read_volume, write_volume

TORCH = InferenceOptions(engine="torch", device="cpu")
MODEL = threshold_model()
LESIONS = {"flair": [(LESION_AT, LESION_MM)]}
CHANNELS = ("t1", "t1c", "t2", "flair")

# Necrosis is what is bright on T2, edema on FLAIR, enhancing tumour on T1c.
GLIOMA_MODEL = threshold_model(("t2", "flair", "t1c"), CHANNELS, GLIOMA)
NECROSIS_AT, EDEMA_AT, ENHANCING_AT = (-9.0, 3.0, 0.0), (9.0, 3.0, 0.0), (0.0, -9.0, 4.0)


def glioma_case(folder, name="p1", grid=None):
    """One sphere of each class; they do not touch."""
    spheres = {"t2": [(NECROSIS_AT, LESION_MM)], "flair": [(EDEMA_AT, LESION_MM)], "t1c": [(ENHANCING_AT, LESION_MM)]}
    return write_head(folder, name, dict.fromkeys(CHANNELS, grid or make_grid()), spheres)


def lesion_case(folder, name="p1", flair="axis-aligned", t1="oblique", **options):
    return write_head(folder, name, {"t1": GRIDS[t1], "flair": GRIDS[flair]}, LESIONS, **options)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def says(kind, call, *args, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.fixture
def seen():
    """The events so far."""
    return []


class TestThreeLines:
    def test_images_and_a_model_give_a_label_map_and_volumes(self, tmp_path):
        """As in the README, with whatever engine is best here."""
        path = save_model(MODEL, tmp_path / "lesion.zip")
        files = lesion_case(tmp_path).channels
        model = ts.load_model(path)
        result = ts.segment({channel: str(file) for channel, file in files.items()}, model, engine="torch")
        assert result.save(tmp_path / "out.nii.gz") == tmp_path / "out.nii.gz"
        assert result.volumes_ml == {"lesion": pytest.approx(LESION_ML, rel=0.03)}
        assert result.lesions == {"lesion": 1}
        assert result.name == "case"
        assert result.scheme == LESION
        assert set(np.unique(nib.load(tmp_path / "out.nii.gz").dataobj)) == {0, 1}

    def test_a_case_may_have_a_name_and_more_channels_than_the_model_takes(self, tmp_path):
        case = glioma_case(tmp_path)
        assert segment(dict(case.channels), MODEL, name="Jane", engine="torch").name == "Jane"
        assert segment(case, MODEL, engine="torch").name == "p1"

    def test_a_missing_channel_is_told(self, tmp_path):
        case = lesion_case(tmp_path)
        message = says(InputError, segment, {"flair": case.channels["flair"]}, MODEL, engine="torch")
        assert message.startswith("Case 'case' has no channel t1; it has flair.")

    def test_no_brain_is_told(self, tmp_path):
        model = threshold_model(pipeline=Pipeline(HEADERS, FindBrain("auto"), geometry=(Reorient(),)))
        grids = dict.fromkeys(("t1", "flair"), make_grid())
        case = write_head(tmp_path, "p1", grids, {})
        image = nib.load(case.channels["t1"])
        nib.save(nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), case.channels["t1"])
        assert "is constant: every voxel is 0" in says(InputError, segment, case, model, engine="torch")

    def test_openvino_gives_the_same_labels(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TRANSFERSEG_CACHE", str(tmp_path / "cache"))
        case = lesion_case(tmp_path)
        one, other = (segment(case, MODEL, engine=engine) for engine in ("torch", "openvino"))
        np.testing.assert_array_equal(one.labels.data, other.labels.data)


class TestPlaceInTheWorld:
    """The sphere is segmented where it is, and the file lies on the reference image, whatever the grids."""

    @pytest.mark.parametrize("flair", GRIDS)
    @pytest.mark.parametrize("t1", ["axis-aligned", "everything"])
    def test_the_sphere_is_found_where_it_is(self, tmp_path, flair, t1):
        result = segment(lesion_case(tmp_path, "p1", flair, t1), MODEL, engine="torch")
        labels, grid = result.labels.data, result.labels.grid
        assert grid.matches(GRIDS[flair], 1e-4)
        assert labels.dtype == np.uint8
        # Slices of 3 mm cost a few per cent.
        assert volume_ml(labels, grid) == pytest.approx(LESION_ML, rel=0.05)
        np.testing.assert_allclose(centre_of(labels, grid), LESION_AT, atol=0.2)
        assert dice(labels == 1, ball(grid, LESION_AT, LESION_MM)) > 0.95

    def test_the_same_for_a_model_that_wants_standardised_intensities(self, tmp_path):
        model = threshold_model(level=EDGE_Z, pipeline=Pipeline(align=HEADERS))
        for scale in (1, 7.3):
            case = lesion_case(tmp_path, t1="axis-aligned")
            image = nib.load(case.channels["flair"])
            nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) * scale, image.affine), case.channels["flair"])
            result = segment(case, model, engine="torch")
            assert dice(result.labels.data == 1, ball(GRIDS["axis-aligned"], LESION_AT, LESION_MM)) > 0.98

    @pytest.mark.parametrize("flair", ["flipped", "oblique", "everything"])
    def test_the_brightness_may_be_on_the_channel_that_was_moved(self, tmp_path, flair):
        model = threshold_model(classes=("t1",))
        grids = {"t1": GRIDS["permuted"], "flair": GRIDS[flair]}
        result = segment(write_head(tmp_path, "p1", grids, {"t1": LESIONS["flair"]}), model, engine="torch")
        assert result.labels.grid.matches(GRIDS[flair], 1e-4)
        np.testing.assert_allclose(centre_of(result.labels.data, result.labels.grid), LESION_AT, atol=0.2)

    @pytest.mark.parametrize("name", ["flipped", "oblique", "anisotropic", "sheared", "everything"])
    def test_the_file_has_the_header_of_the_reference(self, tmp_path, name):
        case = lesion_case(tmp_path, flair=name)
        flair = nib.load(case.channels["flair"])
        # As BraTS has it: another code for each form, and a scale for display.
        image = nib.Nifti1Image(np.asarray(flair.dataobj), flair.affine)
        image.set_sform(flair.affine, code=2)
        image.set_qform(None if name in ("sheared", "everything") else flair.affine, code=1)
        image.header.set_xyzt_units("mm", "sec")
        image.header["cal_max"] = 300
        nib.save(image, case.channels["flair"])
        given = nib.load(case.channels["flair"])

        found = nib.load(segment(case, MODEL, engine="torch").save(tmp_path / "out.nii.gz"))
        assert found.shape == given.shape
        np.testing.assert_array_equal(found.affine, given.affine)
        for field in ("sform_code", "qform_code", "xyzt_units"):
            assert found.header[field] == given.header[field], field
        np.testing.assert_array_equal(found.get_sform(), given.get_sform())
        np.testing.assert_array_equal(found.get_qform(), given.get_qform())
        assert found.header["cal_max"] == 0
        assert found.get_data_dtype() == np.uint8

    @pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
    @pytest.mark.parametrize("name", ["flipped", "oblique", "anisotropic"])
    def test_itk_overlays_it_too(self, tmp_path, name, ending):
        case = lesion_case(tmp_path, flair=name, ending=ending)
        path = segment(case, MODEL, engine="torch").save(tmp_path / f"out{ending}")
        given, found = (SimpleITK.ReadImage(str(file)) for file in (case.channels["flair"], path))
        assert found.GetSize() == given.GetSize()
        np.testing.assert_allclose(found.GetOrigin(), given.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(found.GetSpacing(), given.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(found.GetDirection(), given.GetDirection(), atol=1e-6)
        statistics = SimpleITK.LabelShapeStatisticsImageFilter()
        statistics.Execute(found)
        x, y, z = statistics.GetCentroid(1)
        np.testing.assert_allclose((-x, -y, z), LESION_AT, atol=0.2)
        assert statistics.GetPhysicalSize(1) / 1000 == pytest.approx(LESION_ML, rel=0.05)

    def test_a_dicom_series_is_segmented_in_place(self, tmp_path):
        grid = make_grid((1.0, 1.1, 2.0), "LPS", (5, -10, 15))
        for number, (channel, spheres) in enumerate({"t1": (), "flair": LESIONS["flair"]}.items(), start=1):
            write_dicom(tmp_path / channel, head(grid, spheres or [((-5, 0, 0), 4)]).astype(np.int16), grid, number)
        case = CaseFiles("p1", {"t1": tmp_path / "t1", "flair": tmp_path / "flair"})
        written, _ = segment_dataset([case], MODEL, tmp_path / "out", TORCH)
        assert written[0].name == "p1.nii.gz"
        labels = read_volume(written[0])
        np.testing.assert_allclose(centre_of(labels.data, labels.grid), LESION_AT, atol=0.2)

    def test_by_default_the_flair_gives_the_grid_and_any_channel_can(self, tmp_path):
        case = lesion_case(tmp_path, flair="anisotropic", t1="oblique")
        for reference, name in ((None, "anisotropic"), ("flair", "anisotropic"), ("t1", "oblique")):
            result = segment(case, MODEL, engine="torch", reference=reference)
            assert result.labels.grid.matches(GRIDS[name], 1e-4)
            np.testing.assert_allclose(centre_of(result.labels.data, result.labels.grid), LESION_AT, atol=0.2)
        message = says(InputError, segment, case, MODEL, engine="torch", reference="t2")
        assert message == "The reference channel 't2' is not among t1, flair. Choose one of them."

    def test_the_same_images_give_the_same_bytes(self, tmp_path):
        case = lesion_case(tmp_path, flair="everything")
        paths = [segment(case, MODEL, engine="torch").save(tmp_path / f"{n}" / "out.nii") for n in range(2)]
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_what_is_no_head_is_taken_whole_and_that_is_told(self, tmp_path, seen):
        case = lesion_case(tmp_path)
        for path in case.channels.values():
            image = nib.load(path)
            noise = np.random.default_rng(0).uniform(1, 20, image.shape).astype(np.float32)
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + noise, image.affine), path)
        segment(case, MODEL, on_event=seen.append, engine="torch")
        assert seen[-1].text.endswith("The whole image is taken instead.")
        assert all(isinstance(event, Warning) and event.case == "p1" for event in seen)

    @pytest.mark.parametrize("wanted", [("t1",), ("all",)])
    def test_labels_come_on_the_grids_of_other_channels_too(self, tmp_path, wanted):
        result = segment(lesion_case(tmp_path, "p1", "oblique", "everything"), MODEL, engine="torch", also_on=wanted)
        assert list(result.also_on) == ["t1"]
        labels = result.also_on["t1"]
        assert labels.grid.matches(GRIDS["everything"], 1e-4)
        assert volume_ml(labels.data, labels.grid) == pytest.approx(LESION_ML, rel=0.05)
        np.testing.assert_allclose(centre_of(labels.data, labels.grid), LESION_AT, atol=0.3)
        result.save(tmp_path / "out" / "p1.nii.gz")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p1.nii.gz", "p1_on-t1.nii.gz"]
        written = read_volume(tmp_path / "out" / "p1_on-t1.nii.gz")
        np.testing.assert_array_equal(written.data, labels.data)
        assert written.grid.matches(GRIDS["everything"], 1e-4)

    def test_a_channel_that_the_model_does_not_have_is_told(self, tmp_path):
        message = says(InputError, segment, lesion_case(tmp_path), MODEL, also_on=("t2",))
        assert message == "The model has no channel 't2' to write labels on. It has t1, flair."

    def test_how_the_brain_is_found_can_be_chosen_anew(self, tmp_path):
        case = lesion_case(tmp_path)
        image = read_volume(case.channels["flair"])
        other_side = np.zeros(image.grid.shape, np.uint8)
        x = image.grid.world(np.moveaxis(np.indices(other_side.shape), 0, -1))[..., 0]
        other_side[x * LESION_AT[0] < 0] = 1
        mask = write_volume(image.with_data(other_side), tmp_path / "mask.nii.gz")
        case = CaseFiles("p1", case.channels, brain=mask)
        whole, half = (segment(case, MODEL, engine="torch", brain=method) for method in ("none", "mask"))
        assert whole.volumes_ml["lesion"] == pytest.approx(LESION_ML, rel=0.1)
        assert half.volumes_ml["lesion"] < LESION_ML / 10
        assert "no brain extraction 'magic'" in says(InputError, segment, case, MODEL, brain="magic")


class TestWhatIsSaved:
    def test_labels_have_the_codes_of_brats_on_disk_and_0_to_3_inside(self, tmp_path):
        result = segment(glioma_case(tmp_path), GLIOMA_MODEL, engine="torch")
        assert set(np.unique(result.labels.data)) == {0, 1, 2, 3}
        codes = read_volume(result.save(tmp_path / "out.nii.gz")).data
        assert set(np.unique(codes)) == {0, 1, 2, 4}
        np.testing.assert_array_equal(GLIOMA.encode(codes), result.labels.data)
        grid = result.labels.grid
        for code, centre in ((1, NECROSIS_AT), (2, EDEMA_AT), (4, ENHANCING_AT)):
            np.testing.assert_allclose(centre_of(codes == code, grid), centre, atol=0.15)

    @pytest.mark.parametrize("ending", [".nii.gz", ".NII.GZ", ".nrrd"])
    def test_probabilities_lie_beside_the_labels_and_on_their_grid(self, tmp_path, ending):
        result = segment(glioma_case(tmp_path, grid=GRIDS["oblique"]), GLIOMA_MODEL, engine="torch", probabilities=True)
        result.save(tmp_path / "out" / f"p1{ending}")
        names = [f"p1_probability-{name}{ending.lower()}" for name in ("edema", "enhancing", "necrotic")]
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([f"p1{ending}", *names])
        maps = {
            name: read_volume(tmp_path / "out" / file)
            for name, file in zip(("edema", "enhancing", "necrotic"), names, strict=True)
        }
        for label, name in enumerate(GLIOMA.names[1:], start=1):
            volume = maps[name]
            assert volume.grid.matches(result.labels.grid, 1e-3)
            assert volume.data.dtype == np.float32
            assert 0 <= volume.data.min() < volume.data.max() <= 1 + 1e-6
            assert dice(volume.data > 0.5, result.labels.data == label) > 0.99
        assert sum(volume.data for volume in maps.values()).max() <= 1 + 1e-5

    def test_probabilities_are_not_kept_unless_asked_for(self, tmp_path):
        result = segment(lesion_case(tmp_path), MODEL, engine="torch")
        assert result.probabilities == {}
        result.save(tmp_path / "out" / "p1.nii.gz")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["p1.nii.gz"]

    def test_a_class_may_be_called_anything(self, tmp_path):
        scheme = LabelScheme.from_names("x", {"background": 0, "NCR / NET": 1})
        model = threshold_model(scheme=scheme)
        segment(lesion_case(tmp_path), model, engine="torch", probabilities=True).save(tmp_path / "out" / "a.nii.gz")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "a.nii.gz",
            "a_probability-NCR-NET.nii.gz",
        ]

    def test_volumes_are_those_of_the_spheres_on_a_grid_of_any_voxel_size(self, tmp_path):
        grid = make_grid((0.8, 0.9, 1.6), "LIP", (-25, 10, 15))
        result = segment(glioma_case(tmp_path, grid=grid), GLIOMA_MODEL, engine="torch")
        expected = {"whole": 3, "core": 2, "enhancing": 1, "necrotic": 1, "edema": 1}
        assert list(result.volumes_ml) == list(expected)
        assert result.volumes_ml == pytest.approx({part: n * LESION_ML for part, n in expected.items()}, rel=0.05)
        assert result.volumes_ml["whole"] == pytest.approx(volume_ml(result.labels.data > 0, grid))

    def test_lesions_are_counted_for_each_region(self, tmp_path):
        apart = [((9.0, 0.0, 0.0), 4.0), ((-9.0, 0.0, 0.0), 4.0), ((0.0, 9.0, 0.0), 4.0)]
        grids = dict.fromkeys(("t1", "flair"), make_grid())
        case = write_head(tmp_path, "p1", grids, {"flair": apart})
        assert segment(case, MODEL, engine="torch").lesions == {"lesion": 3}
        result = segment(glioma_case(tmp_path), GLIOMA_MODEL, engine="torch")
        assert result.lesions == {"whole": 3, "core": 2, "enhancing": 1}

    def test_a_healthy_brain_has_no_lesion(self, tmp_path):
        grids = dict.fromkeys(("t1", "flair"), make_grid())
        result = segment(write_head(tmp_path, "p1", grids, {"flair": []}), MODEL, engine="torch")
        assert result.volumes_ml == {"lesion": 0}
        assert result.lesions == {"lesion": 0}
        assert not read_volume(result.save(tmp_path / "out.nii.gz")).data.any()


class TestProbability:
    """The probabilities of a prepared image: as it is, padded, averaged over flips."""

    random = np.random.default_rng(0)
    image = random.normal(size=(2, 24, 16, 20)).astype(np.float32)
    brain = random.random((24, 16, 20)) < 0.7
    everywhere = np.ones((24, 16, 20), bool)

    def probability(self, image, brain=None, **options):
        segmenter = Segmenter(random_model(), InferenceOptions(engine="torch", device="cpu", **options))
        return segmenter.probability(image, np.ones(image.shape[1:], bool) if brain is None else brain)

    def test_is_the_softmax_of_the_logits(self):
        with torch.inference_mode():
            logits = random_model().build()(torch.from_numpy(self.image)[None])[0]
        found = self.probability(self.image)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, torch.softmax(logits, 0).numpy(), atol=1e-5)
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)
        assert found[1].std() > 0.05

    def test_does_not_overflow(self):
        found = self.probability(self.image * 1e4)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)

    def test_outside_of_the_brain_all_is_background(self):
        found = self.probability(self.image, self.brain)
        assert (found[0][~self.brain] == 1).all()
        assert (found[1:, ~self.brain] == 0).all()
        np.testing.assert_array_equal(found[:, self.brain], self.probability(self.image)[:, self.brain])

    def test_sides_that_do_not_fit_the_network_are_padded_and_cut_again(self):
        odd = self.image[:, :23, :15, :19]
        padded = np.pad(odd, [(0, 0)] + [(0, 1)] * 3)
        np.testing.assert_array_equal(self.probability(odd), self.probability(padded)[:, :23, :15, :19])

    @pytest.mark.parametrize("shape", [(24, 16, 20), (23, 15, 19)])
    def test_flips_average_over_left_and_right(self, shape):
        image = self.image[:, : shape[0], : shape[1], : shape[2]]
        one, other = self.probability(image), self.probability(image[:, ::-1])[:, ::-1]
        found = self.probability(image, flips=True)
        np.testing.assert_allclose(found, (one + other) / 2, atol=1e-7)
        assert np.abs(found - one).max() > 0.01

    @pytest.mark.parametrize("shape", [(24, 16, 20), (23, 15, 19)])
    def test_with_flips_the_mirror_image_has_the_mirrored_answer_to_the_bit(self, shape):
        image = self.image[:, : shape[0], : shape[1], : shape[2]]
        one, other = self.probability(image, flips=True), self.probability(image[:, ::-1], flips=True)
        np.testing.assert_array_equal(one, other[:, ::-1])
        symmetric = image + image[:, ::-1]
        found = self.probability(symmetric, flips=True)
        np.testing.assert_array_equal(found, found[:, ::-1])

    def test_flips_change_nothing_for_a_symmetric_network(self):
        options = InferenceOptions(engine="torch", device="cpu", flips=True)
        image = 150 + self.image
        one = Segmenter(MODEL, TORCH).probability(image, self.everywhere)
        np.testing.assert_array_equal(Segmenter(MODEL, options).probability(image, self.everywhere), one)
        assert 0.1 < one[1].mean() < 0.9

    def test_flips_turn_left_and_right_of_the_head_however_the_file_lies(self, tmp_path):
        model = random_model()
        for name in ("axis-aligned", "permuted"):
            case = write_head(tmp_path / name, "p1", dict.fromkeys(("t1", "flair"), GRIDS[name]), LESIONS)
            results = [segment(case, model, engine="torch", flips=True, probabilities=True).probabilities["lesion"]]
            results.append(ts.Volume(results[0].data, results[0].grid))
            moved = inference.resample(results[0].data, GRIDS[name], GRIDS["axis-aligned"])
            if name == "axis-aligned":
                first = moved
        np.testing.assert_allclose(moved, first, atol=2e-3)


class TestLittleMemory:
    """What does not fit at once is computed slab by slab, with the same result."""

    TOO_LARGE = "The image does not fit into the memory at once: it takes about twice as long."

    @pytest.mark.parametrize("statistics", ["running", "image"])
    @pytest.mark.parametrize("flips", [False, True])
    def test_gives_the_same_labels_with_a_warning(self, tmp_path, seen, statistics, flips):
        case, model = lesion_case(tmp_path, flair="oblique"), random_model(statistics=statistics)
        options = {"engine": "torch", "flips": flips, "probabilities": True}
        whole = segment(case, model, on_event=seen.append, memory_gb=8, **options)
        assert seen == []
        slabs = segment(case, model, on_event=seen.append, memory_gb=0.001, **options)
        assert seen == [Warning(self.TOO_LARGE, "p1")]
        one, other = (result.probabilities["lesion"].data for result in (whole, slabs))
        np.testing.assert_allclose(one, other, atol=2e-4)
        assert one.std() > 0.05
        assert (whole.labels.data == slabs.labels.data).mean() > 0.9999

    def test_holds_for_any_engine(self, tmp_path, seen, monkeypatch):
        case, expected = lesion_case(tmp_path), segment(lesion_case(tmp_path), MODEL, engine="torch")
        monkeypatch.setattr(inference, "make_engine", lambda *_: None)  # as if OpenVINO's, which is not asked
        found = segment(case, MODEL, on_event=seen.append, memory_gb=0.001)
        np.testing.assert_array_equal(found.labels.data, expected.labels.data)

    def test_slabs_are_as_thick_as_the_memory_allows(self, tmp_path, monkeypatch):
        asked = []
        real = inference.torch_engine
        monkeypatch.setattr(inference, "torch_engine", lambda *args: asked.append(args[-1]) or real(*args))
        for extra_mb in (0, 8, 10):
            segment(lesion_case(tmp_path), MODEL, engine="torch", memory_gb=(500 + extra_mb) / 1024)
        assert asked[0] == 8
        assert asked == sorted(set(asked))

    def test_little_free_memory_is_enough_reason(self, tmp_path, seen, monkeypatch):
        monkeypatch.setattr(inference, "available_bytes", lambda: 2**20)
        segment(lesion_case(tmp_path), MODEL, on_event=seen.append, engine="torch", device="cpu")
        assert seen == [Warning(self.TOO_LARGE, "p1")]

    def test_the_computers_memory_is_not_a_graphics_cards(self, tmp_path, seen, monkeypatch):
        segmenter = Segmenter(MODEL, TORCH)
        monkeypatch.setattr(inference, "available_bytes", lambda: 2**20)
        monkeypatch.setattr(inference, "choose_device", lambda name: torch.device("cuda"))
        segmenter(lesion_case(tmp_path), on_event=seen.append)
        assert seen == []

    def test_what_the_user_allows_holds_on_a_graphics_card_too(self, tmp_path, seen, monkeypatch):
        segmenter = Segmenter(MODEL, InferenceOptions(engine="torch", memory_gb=0.001))
        monkeypatch.setattr(inference, "choose_device", lambda name: torch.device("cuda"))
        monkeypatch.setattr(inference, "torch_engine", lambda *args: segmenter._engine)
        segmenter(lesion_case(tmp_path), on_event=seen.append)
        assert seen == [Warning(self.TOO_LARGE, "p1")]
