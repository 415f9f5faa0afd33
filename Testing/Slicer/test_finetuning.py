"""From annotated cases in the scene through child processes to a model that segments."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import slicer
from scenes import CHANNELS, addPatient, addSegmentation, addTransform, waitFor
from TransferSegBridge.annotated import AnnotatedCase
from TransferSegBridge.finetuning import FinetuneJob, FinetuneRequest, freeName, installRun, nameProblem
from TransferSegBridge.runfolder import RunFolder, listRuns, loadRun, unfinishedRuns
from TransferSegBridge.segmenting import SegmentJob, SegmentRequest

from TransferSegLib.errors import ResourceError, TransferSegError
from TransferSegLib.labels import LESION

PLACES = ((20, 10, 5), (-20, 12, 0), (5, -25, 10), (-15, -15, -10))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Models and runs of the test alone, in a folder whose name is not ASCII."""
    folder = tmp_path / "Maison d'Éric"
    monkeypatch.setenv("TRANSFERSEG_HOME", str(folder))
    return folder


def cases(count=3, segment="lesion"):
    made = []
    for number, place in enumerate(PLACES[:count]):
        nodes = addPatient(f"p{number}", place, 18, number)
        label = addSegmentation(f"p{number} seg", nodes["flair"], place, 18, segment)
        images = {channel: node.GetID() for channel, node in nodes.items()}
        made.append(AnnotatedCase(f"p{number}", images, label.GetID(), True, {segment: "lesion"}))
    return tuple(made)


def request(given=None, **options):
    values = {"epochs": 3, "spacing": 4.0, **options}
    return FinetuneRequest("tuned", "ms-lesion-fast", CHANNELS, "all", given or cases(), LESION, **values)


def test_three_cases_become_a_model_that_segments():
    events, done = [], []
    job = FinetuneJob(request(), events.append, done.append)
    job.start()
    result = job.wait()
    assert done == [result]
    assert result.model == "tuned"
    assert result.table.GetTable().GetColumn(0).GetValue(0) == "lesion"
    assert {event["stage"] for event in events if event["event"] == "progress"} >= {"copy", "train", "test"}
    assert [event["step"] for event in events if event["event"] == "metric"] == [1, 2, 3]
    assert all(event["strategy"] == "all" for event in events if event["event"] == "metric")
    assert unfinishedRuns() == []
    segmentation = SegmentJob(SegmentRequest(addPatient("new"), result.model))
    segmentation.start()
    assert segmentation.wait().segmentation is not None


def test_cases_are_written_with_their_labels_where_they_lie_in_the_world():
    from TransferSegLib.datasets import find_cases
    from TransferSegLib.volume import read_volume

    made = cases(2)
    shift = np.eye(4)
    shift[:3, 3] = (11, -7, 3)
    node = slicer.mrmlScene.GetNodeByID
    addTransform(shift, *(node(nodeID) for nodeID in (*made[0].images.values(), made[0].label)))
    job = FinetuneJob(request(made, epochs=200))
    job.start()
    waitFor(lambda: job.folder.manifest.exists())
    job.stop()
    waitFor(lambda: job.result is not None)
    first = next(case for case in find_cases(job.folder.manifest) if case.name == "p0")
    label = read_volume(first.label)
    centre = label.grid.world(np.argwhere(label.data == 1)).mean(0)
    assert np.abs(centre - (np.array(PLACES[0]) + shift[:3, 3])).max() < 2
    assert label.grid.matches(read_volume(first.channels["flair"]).grid)


def test_baseline_is_trained_on_the_same_cases_and_stands_beside():
    job = FinetuneJob(request(compare=True, epochs=2))
    job.start()
    result = job.wait()
    assert set(result.folder.scores()) == {"all", "scratch"}
    table = result.table.GetTable()
    assert [table.GetColumnName(column) for column in range(1, 3)] == ["Dice, all", "Dice, scratch"]
    cards = [json.loads((result.folder.out(name) / "model" / "model.json").read_text()) for name in ("all", "scratch")]
    assert cards[0]["training"]["cases"]["count"] == cards[1]["training"]["cases"]["count"]
    assert cards[0]["training"]["parent"] == "ms-lesion-fast"
    assert cards[1]["training"]["parent"] is None


def test_paused_run_goes_on_after_a_restart_and_ends_as_if_it_had_not_stopped():
    made = cases()
    straight = FinetuneJob(request(made, epochs=4))
    straight.start()
    wanted = straight.wait()
    events = []
    job = FinetuneJob(FinetuneRequest("paused", "ms-lesion-fast", CHANNELS, "all", made, LESION, 4, 4.0), events.append)
    job.start()
    waitFor(lambda: any(event["event"] == "metric" for event in events) or job.result)
    job.stop()
    waitFor(lambda: job.result is not None)
    assert job.result.outcome.cancelled
    slicer.mrmlScene.Clear(0)  # Slicer was closed meanwhile
    (run,) = unfinishedRuns()
    again = FinetuneJob(run)
    again.start()
    result = again.wait()
    assert unfinishedRuns() == []
    sums = [
        json.loads((folder.out("all") / "model" / "model.json").read_text())["weights_sha256"]
        for folder in (wanted.folder, result.folder)
    ]
    assert sums[0] == sums[1]


def test_best_so_far_of_a_paused_run_can_be_used():
    events = []
    job = FinetuneJob(request(epochs=50), events.append)
    job.start()
    waitFor(lambda: any(event["event"] == "metric" for event in events) or job.result)
    job.stop()
    waitFor(lambda: job.result is not None)
    assert job.result.folder.hasModel()
    assert installRun(job.result.folder) == "tuned"


def test_cancel_while_cases_are_copied_leaves_no_run():
    job = FinetuneJob(request())
    job.start()
    job.stop()
    waitFor(lambda: job.result is not None)
    assert job.result.outcome.cancelled
    assert listRuns() == []
    assert not job.folder.path.exists()


def test_case_whose_node_was_deleted_meanwhile_is_named_and_leaves_no_run():
    made = cases()
    job = FinetuneJob(request(made))
    job.start()
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(made[2].label))
    with pytest.raises(TransferSegError, match="p2"):
        job.wait()
    assert not job.folder.path.exists()


def test_closed_scene_does_not_stop_a_training():
    job = FinetuneJob(request(epochs=2))
    job.start()
    waitFor(lambda: job.folder.manifest.exists())
    slicer.mrmlScene.Clear(0)
    assert job.wait().model == "tuned"


class TestRefusals:
    def test_problem_of_a_case_is_told_with_its_name(self):
        made = cases(1)
        broken = AnnotatedCase("p0", {**made[0].images, "t2": ""}, made[0].label, True, made[0].classes)
        assert "p0" in request((broken,)).problem()
        assert "t2" in request((broken,)).problem()

    def test_no_cases(self):
        assert FinetuneRequest("x", "ms-lesion-fast", CHANNELS, "all", (), LESION).problem()

    @pytest.mark.parametrize("name", ["", "Upper", "a b", "-a", "a/b", "é"])
    def test_bad_name(self, name):
        assert nameProblem(name)

    def test_name_of_a_model_or_a_run_is_taken(self, home):
        assert "ms-lesion-fast" in nameProblem("ms-lesion-fast")
        (home / "runs" / "mine").mkdir(parents=True)
        assert "mine" in nameProblem("mine")
        assert freeName("mine") == "mine-2"

    def test_remedy_for_a_run_can_be_followed(self, home):
        run = RunFolder(home / "runs" / "mine", "mine", "", ("all",), {}, {})
        run.path.mkdir(parents=True)
        assert str(run.path) in nameProblem("mine")
        run.save()
        assert "go on with it, delete it" in nameProblem("mine")
        replace(run, done=("all",)).save()  # its model was deleted since
        assert "go on" not in nameProblem("mine")
        assert str(run.path) in nameProblem("mine")

    def test_all_cases_held_out(self):
        made = cases(1)
        only = AnnotatedCase("p0", made[0].images, made[0].label, True, made[0].classes, "test")
        assert request((only,)).problem()


def test_what_a_crash_has_left_behind_takes_no_name_and_goes(home):
    names = ("tuned", "other", "young")
    for name in names:
        (home / "runs" / name / "cases").mkdir(parents=True)
    for name in names[:2]:
        os.utime(home / "runs" / name, (0, 0))
    assert not nameProblem("tuned")
    job = FinetuneJob(request())
    job.start()
    job.stop()
    waitFor(lambda: job.result is not None)
    assert [path.name for path in (home / "runs").iterdir()] == ["young"]


def test_full_disk_at_the_end_of_a_strategy_is_told(monkeypatch):
    job = FinetuneJob(request(epochs=1))
    job.start()
    waitFor(lambda: job.folder.manifest.exists() and listRuns())

    def full(run):
        raise ResourceError("The disk is full.", "Free some space.")

    monkeypatch.setattr(RunFolder, "save", full)
    waitFor(lambda: job.result is not None, 300)
    assert "The disk is full" in job.result.outcome.message


def test_damaged_run_folder_is_left_out_and_named(home):
    folder = home / "runs" / "broken"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{")
    assert listRuns() == []
    with pytest.raises(TransferSegError, match="broken"):
        loadRun(folder)
