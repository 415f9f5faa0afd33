"""Segmenting many cases: each gets its label map, the table has them all, and a bad one does not stop the others."""

import csv
import pickle
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from command import error, run
from hand_model import LESION_ML, random_model, threshold_model, write_head
from phantoms import GRIDS, make_grid
from test_inference import CHANNELS, GLIOMA_MODEL, LESIONS, MODEL, TORCH, glioma_case, lesion_case, says
from worker_jobs import Scheduler

import TransferSegLib as ts  # noqa: N813, as everybody will
from TransferSegLib import segment_many
from TransferSegLib.case_files import CaseFiles
from TransferSegLib.errors import Cancelled, InputError, ResourceError
from TransferSegLib.events import CancelToken, Failure, Progress, Warning
from TransferSegLib.grid import Grid
from TransferSegLib.inference import InferenceOptions, Segmenter, segment
from TransferSegLib.labels import GLIOMA
from TransferSegLib.model import Model, save_model
from TransferSegLib.segment_many import segment_dataset
from TransferSegLib.volume import read_volume


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def seen():
    """The events so far."""
    return []


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


class TestManyCases:
    def cases(self, folder, names=("a", "b", "c")):
        return [lesion_case(folder / name, name) for name in names]

    def test_each_case_gets_a_label_map_and_a_row(self, tmp_path, seen):
        cases = [self.cases(tmp_path, "a")[0], lesion_case(tmp_path / "b", "b", flair="everything")]
        written, failed = segment_dataset(cases, MODEL, tmp_path / "out", TORCH, on_event=seen.append)
        assert written == [tmp_path / "out" / name for name in ("a.nii.gz", "b.nii.gz", "volumes.csv")]
        assert sorted(written) == sorted((tmp_path / "out").iterdir())
        assert failed == {}
        assert [(event.stage, event.step, event.of) for event in seen] == [("segment", step, 2) for step in range(3)]

    def test_the_table_has_volumes_of_regions_and_classes_and_counts(self, tmp_path):
        segment_dataset([glioma_case(tmp_path)], GLIOMA_MODEL, tmp_path / "out", TORCH)
        text = (tmp_path / "out" / "volumes.csv").read_bytes()
        header = b"case,whole_ml,core_ml,enhancing_ml,necrotic_ml,edema_ml,whole_count,core_count,enhancing_count\n"
        assert text.startswith(header)
        assert text.count(b"\n") == 2
        assert b"\r" not in text
        (row,) = rows(tmp_path / "out" / "volumes.csv")
        codes = read_volume(tmp_path / "out" / "p1.nii.gz").data  # of 1 mm: a voxel is 0.001 ml
        assert row == {
            "case": "p1",
            "whole_ml": f"{(codes > 0).sum() / 1000:.3f}",
            "core_ml": f"{((codes == 1) | (codes == 4)).sum() / 1000:.3f}",
            "enhancing_ml": f"{(codes == 4).sum() / 1000:.3f}",
            "necrotic_ml": f"{(codes == 1).sum() / 1000:.3f}",
            "edema_ml": f"{(codes == 2).sum() / 1000:.3f}",
            "whole_count": "3",
            "core_count": "2",
            "enhancing_count": "1",
        }
        assert float(row["edema_ml"]) == pytest.approx(LESION_ML, rel=0.03)

    def test_gives_what_segmenting_one_gives_to_the_bit(self, tmp_path):
        cases = self.cases(tmp_path, "ab")
        written, _ = segment_dataset(cases, random_model(), tmp_path / "out", TORCH)
        for case, path in zip(cases, written, strict=False):
            alone = segment(case, random_model(), engine="torch", device="cpu").save(tmp_path / path.name)
            assert alone.read_bytes() == path.read_bytes()

    @pytest.mark.parametrize(
        ("given", "written"),
        [(".nii.gz", ".nii.gz"), (".nii", ".nii.gz"), (".nrrd", ".nrrd"), (".mha", ".mha")],
    )
    def test_the_format_follows_the_reference(self, tmp_path, given, written):
        case = lesion_case(tmp_path, flair="oblique", ending=given)
        files, _ = segment_dataset([case], MODEL, tmp_path / "out", TORCH)
        assert files[0].name == f"p1{written}"
        assert read_volume(files[0]).grid.matches(GRIDS["oblique"], 1e-3)

    @pytest.mark.parametrize(("given", "written"), [(".nhdr", ".nrrd"), (".mhd", ".mha")])
    def test_a_header_with_its_data_beside_becomes_one_file(self, tmp_path, given, written):
        case = lesion_case(tmp_path, ending=".nrrd")
        for channel, path in case.channels.items():
            SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(tmp_path / f"{channel}{given}"))
        other = CaseFiles("p1", {channel: tmp_path / f"{channel}{given}" for channel in case.channels})
        files, failed = segment_dataset([other], MODEL, tmp_path / "out", TORCH)
        assert failed == {}
        assert files[0].name == f"p1{written}"

    def test_options_hold_for_every_case(self, tmp_path):
        options = InferenceOptions(engine="torch", device="cpu", reference="t1", probabilities=True)
        written, _ = segment_dataset(self.cases(tmp_path, "a"), MODEL, tmp_path / "out", options)
        assert read_volume(written[0]).grid.matches(GRIDS["oblique"], 1e-3)
        assert (tmp_path / "out" / "a_probability-lesion.nii.gz").exists()


class TestForBrats:
    def test_is_nifti_with_1_2_4_under_the_name_of_the_case(self, tmp_path, seen):
        grids = dict.fromkeys(CHANNELS, make_grid())
        spheres = {"t2": [((-9.0, 0.0, 0.0), 5.0)], "flair": [((9.0, 0.0, 0.0), 5.0)], "t1c": [((0.0, 9.0, 0.0), 5.0)]}
        case = write_head(tmp_path, "Brats18_CBICA_AAM_1", grids, spheres, ending=".nrrd")
        written, _ = segment_dataset([case], GLIOMA_MODEL, tmp_path / "out", TORCH, brats=True, on_event=seen.append)
        assert written[0].name == "Brats18_CBICA_AAM_1.nii.gz"
        assert set(np.unique(read_volume(written[0]).data)) == {0, 1, 2, 4}
        assert of_kind(seen, Warning) == [
            Warning("The grid (44, 44, 44) is not that of BraTS.", "Brats18_CBICA_AAM_1"),
        ]

    def test_the_grid_of_brats_is_no_warning(self, tmp_path, seen):
        model = threshold_model(("flair",) * 3, ("flair",), GLIOMA)
        affine = np.array([[-1.0, 0, 0, 120], [0, -1, 0, 119], [0, 0, 1, -77], [0, 0, 0, 1]])
        case = write_head(tmp_path, "p1", {"flair": Grid((240, 240, 155), affine)}, LESIONS)
        written, _ = segment_dataset([case], model, tmp_path / "out", TORCH, brats=True, on_event=seen.append)
        assert of_kind(seen, Warning) == []
        found = nib.load(written[0])
        assert found.shape == (240, 240, 155)
        np.testing.assert_array_equal(found.affine, affine)

    def test_a_model_of_other_labels_is_refused_before_anything_is_done(self, tmp_path):
        message = says(InputError, segment_dataset, [], MODEL, tmp_path / "out", TORCH, brats=True)
        assert message == "The model labels 'lesion', not glioma: it has no BraTS labels. Leave out --brats."


class TestWhatGoesWrong:
    def cases(self, folder, names="abc"):
        return [lesion_case(folder / name, name) for name in names]

    def test_a_bad_case_is_reported_and_does_not_stop_the_others(self, tmp_path, seen):
        cases = self.cases(tmp_path)
        cases[1].channels["t1"].write_bytes(b"no image")
        written, failed = segment_dataset(cases, MODEL, tmp_path / "out", TORCH, on_event=seen.append)
        assert [path.name for path in written] == ["a.nii.gz", "c.nii.gz", "volumes.csv"]
        assert [row["case"] for row in rows(written[-1])] == ["a", "c"]
        (failure,) = of_kind(seen, Failure)
        assert list(failed) == ["b"]
        assert (failure.kind, failure.case) == ("input", "b")
        assert failure.cause == failed["b"].cause
        assert str(cases[1].channels["t1"]) in failure.cause
        assert of_kind(seen, Progress)[-1].step == 3

    def test_a_case_without_its_channels_is_such_a_case(self, tmp_path):
        good, bad = self.cases(tmp_path, "ab")
        bad = CaseFiles("b", {"flair": bad.channels["flair"]})
        written, failed = segment_dataset([bad, good], MODEL, tmp_path / "out", TORCH)
        assert [path.name for path in written] == ["a.nii.gz", "volumes.csv"]
        assert failed["b"].cause == "Case 'b' has no channel t1; it has flair."

    def test_memory_that_is_full_for_one_case_is_such_a_case(self, tmp_path, monkeypatch):
        real = Segmenter.probability

        def probability(self, image, brain, name="", on_event=None):
            if name == "b":
                raise ResourceError("The memory is full.", "")
            return real(self, image, brain, name, on_event)

        monkeypatch.setattr(Segmenter, "probability", probability)
        written, failed = segment_dataset(self.cases(tmp_path), MODEL, tmp_path / "out", TORCH)
        assert len(written) == 3
        assert failed["b"].exit_code == 4

    def test_when_all_fail_there_is_no_table(self, tmp_path):
        cases = self.cases(tmp_path, "a")
        cases[0].channels["flair"].unlink()
        written, failed = segment_dataset(cases, MODEL, tmp_path / "out", TORCH)
        assert written == []
        assert list(failed) == ["a"]
        assert not (tmp_path / "out").exists()

    def test_a_listener_that_stops_is_no_bad_case(self, tmp_path):
        def stop(event):
            if isinstance(event, Warning):
                raise Cancelled()

        options = InferenceOptions(engine="torch", memory_gb=0.001)  # which is warned about
        with pytest.raises(Cancelled):
            segment_dataset(self.cases(tmp_path), MODEL, tmp_path / "out", options, on_event=stop)

    def test_cancelled_what_is_done_is_kept(self, tmp_path):
        cancel = CancelToken()

        def stop_after_two(event):
            if isinstance(event, Progress) and event.step == 2:
                cancel.cancel()

        with pytest.raises(Cancelled):
            segment_dataset(self.cases(tmp_path), MODEL, tmp_path / "out", TORCH, False, stop_after_two, cancel)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b.nii.gz", "volumes.csv"]
        assert [row["case"] for row in rows(tmp_path / "out" / "volumes.csv")] == ["a", "b"]

    def test_two_cases_of_one_name_are_refused_before_anything_is_done(self, tmp_path):
        cases = self.cases(tmp_path, "ab")
        message = says(InputError, segment_dataset, [*cases, cases[0]], MODEL, tmp_path / "out", TORCH)
        assert message == "Two cases are called 'a'. Give each its own name."
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "out").write_text("a file in the way")
        message = says(InputError, segment_dataset, self.cases(tmp_path, "a"), MODEL, tmp_path / "out", TORCH)
        assert "out" in message
        assert message.endswith("cannot be written: a file stands in the way. Choose another output folder.")

    @pytest.mark.parametrize("what", ["channel", "label"])
    def test_an_image_of_the_case_is_never_replaced(self, tmp_path, what):
        case = lesion_case(tmp_path / "in")
        own = tmp_path / "in" / "p1.nii.gz"
        if what == "channel":
            case.channels["flair"].rename(own)
            case = CaseFiles("p1", {**case.channels, "flair": own})
        else:
            own.write_bytes(b"drawn by hand")
            case = CaseFiles("p1", case.channels, label=own)
        before = own.read_bytes()
        written, failed = segment_dataset([case], MODEL, tmp_path / "in", TORCH)
        assert written == []
        assert str(failed["p1"]) == f"{own} is an image of the case itself. Choose another output folder."
        assert own.read_bytes() == before

    def test_a_model_that_does_not_exist_is_told_at_once(self, tmp_path):
        assert "no-such" in says(ts.TransferSegError, segment_dataset, [], "no-such-model", tmp_path / "out")


def test_an_output_folder_may_be_a_string(tmp_path):
    written, _ = segment_dataset([lesion_case(tmp_path)], MODEL, str(tmp_path / "out"), TORCH)
    assert all(isinstance(path, Path) for path in written)


class TestSeveralWorkers:
    """Two processes: as one, but for the time it takes."""

    @staticmethod
    def contents(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    @staticmethod
    def work(cases, model, out, workers, seen=None, **options):
        listen = seen.append if seen is not None else lambda event: None
        chosen = InferenceOptions(engine="torch", device="cpu", probabilities=True, also_on=("t1",))
        return segment_dataset(cases, model, out, chosen, on_event=listen, workers=workers, threads=1, **options)

    def test_write_the_same_files_to_the_bit_and_tell_the_same(self, tmp_path, monkeypatch):
        """From relative paths; with a case that fails, and one that is warned about."""
        monkeypatch.chdir(tmp_path)
        cases = [lesion_case(Path("in"), name) for name in ("d", "a", "c", "b")]
        cases[2].channels["t1"].write_bytes(b"no image")
        model, seen = random_model(), {1: [], 2: []}
        results = {n: self.work(cases, model, Path(f"out {n}"), n, seen[n]) for n in (1, 2)}
        assert self.contents(tmp_path / "out 2") == self.contents(tmp_path / "out 1")
        assert [row["case"] for row in rows(tmp_path / "out 2" / "volumes.csv")] == ["d", "a", "b"]
        for workers, (written, failed) in results.items():
            out = Path(f"out {workers}")
            assert written == [out / name for name in ("d.nii.gz", "a.nii.gz", "b.nii.gz", "volumes.csv")]
            assert list(failed) == ["c"]
            (failure,) = of_kind(seen[workers], Failure)
            assert (failure.case, failure.kind) == ("c", "input")
            assert failure.cause.endswith("c_t1.nii.gz is not a NIfTI image.")
            steps = [(event.stage, event.step, event.of) for event in of_kind(seen[workers], Progress)]
            assert steps == [("segment", step, 4) for step in range(5)]
            assert sorted(map(repr, of_kind(seen[workers], Warning))) == sorted(map(repr, of_kind(seen[1], Warning)))

    def test_a_stop_keeps_what_is_done(self, tmp_path):
        cancel = CancelToken()

        def stop_after_one(event):
            if isinstance(event, Progress) and event.step == 1:
                cancel.cancel()

        cases = [lesion_case(tmp_path / "in", f"{number:02d}") for number in range(20)]
        out = tmp_path / "out"
        with pytest.raises(Cancelled):
            segment_dataset(cases, MODEL, out, TORCH, False, stop_after_one, cancel, workers=2, threads=1)
        done = sorted(path.name.split(".")[0] for path in out.glob("*.nii.gz"))
        assert 1 <= len(done) <= 6  # as many as were worked on
        assert [row["case"] for row in rows(out / "volumes.csv")] == done
        assert len(list(out.iterdir())) == len(done) + 1

    def test_work_anywhere_that_reaches_the_folders(self, tmp_path, monkeypatch):
        """A cluster whose worker stands elsewhere, has seen another model of the same weights, and loses its head."""
        (tmp_path / "cluster").mkdir()
        scheduler = Scheduler(tmp_path / "cluster")
        monkeypatch.chdir(tmp_path)
        cases, model = [lesion_case(Path("in"), name) for name in "abcd"], random_model()
        other = Model(model.card.replace(preprocessing=threshold_model().card.preprocessing), model.weights)

        def kill_at_two(event):
            if isinstance(event, Progress) and event.step == 2:
                scheduler.process.kill()

        try:
            scheduler.add_worker()
            for name, chosen in {"model": model, "other": other}.items():
                self.work(cases[:2], chosen, Path(f"{name} here"), 1)
                self.work(cases[:2], chosen, Path("out"), 1, scheduler=str(scheduler.file))
                assert self.contents(tmp_path / "out") == self.contents(tmp_path / f"{name} here")
            lose = partial(segment_dataset, on_event=kill_at_two, scheduler=str(scheduler.file))
            assert "is gone" in says(ResourceError, lose, cases, model, "lost", TORCH)
        finally:
            scheduler.close()
        assert {"a", "b"} <= {row["case"] for row in rows(tmp_path / "lost" / "volumes.csv")}
        assert self.contents(tmp_path / "model here") != self.contents(tmp_path / "other here")

    def test_share_the_memory(self, monkeypatch):
        monkeypatch.setattr(segment_many, "available_bytes", lambda: 10 * 2**30)
        share = segment_many._share_memory
        assert share(TORCH, 4).memory_gb == pytest.approx(10 * 0.7 / 4)
        assert share(InferenceOptions(device="cpu", memory_gb=3), 4).memory_gb == 3
        monkeypatch.setattr(segment_many, "choose_device", lambda name: torch.device("cuda"))
        assert share(InferenceOptions(), 4).memory_gb is None

    def test_each_get_their_share(self, tmp_path, monkeypatch):
        submitted = []
        force = SimpleNamespace(submit=lambda *args: submitted.append(args), finished=lambda: iter(()))
        monkeypatch.setattr(segment_many, "gather_workers", lambda *_: nullcontext(force))
        monkeypatch.setattr(segment_many, "available_bytes", lambda: 10 * 2**30)
        cases = [lesion_case(tmp_path, name) for name in "abc"]
        for workers, share in {1: None, 2: 3.5, 9: 7 / 3}.items():
            submitted.clear()
            segment_dataset(cases, MODEL, tmp_path / "out", TORCH, workers=workers)
            assert [options.memory_gb for *_, options, _, _ in submitted] == [share and pytest.approx(share)] * 3

    def test_a_result_that_cannot_be_written_comes_home_as_such(self):
        error = pickle.loads(pickle.dumps(segment_many._Unwritten(ResourceError("The disk is full.", "Free some."))))
        assert (error.error.cause, error.error.remedy) == ("The disk is full.", "Free some.")

    def test_are_asked_for_by_the_command(self, tmp_path, monkeypatch):
        asked = []

        def remember(*given):
            asked.append(given[-3:])
            return [], {}

        monkeypatch.setattr(segment_many, "segment_dataset", remember)
        lesion_case(tmp_path, "p1")
        command = ("segment", tmp_path, "--model", save_model(MODEL, tmp_path / "m.zip"), "--out", tmp_path / "out")
        assert run(*command).code == 0
        assert run(*command, "--workers", 3, "--scheduler", "tcp://there:1", "--threads", 1).code == 0
        assert asked == [(1, "", 0), (3, "tcp://there:1", 1)]

    @pytest.mark.parametrize(
        ("options", "cause", "remedy"),
        [
            (("--workers", -1), "--workers cannot be -1.", "Give 1 or more, or 0 for what the machine allows."),
            (
                ("--scheduler", "none.json"),
                "The scheduler at none.json cannot be reached.",
                "Start one with: dask scheduler --scheduler-file FILE; see Docs/clusters.md.",
            ),
        ],
    )
    def test_that_cannot_be_had_are_refused(self, tmp_path, options, cause, remedy):
        lesion_case(tmp_path, "p1")
        command = ("segment", tmp_path, "--model", save_model(MODEL, tmp_path / "m.zip"), "--out", tmp_path / "out")
        done = run(*command, "--engine", "torch", *options)
        assert done.code == 2
        assert done.told[-2:] == error(cause, remedy)
        assert not (tmp_path / "out").exists()
