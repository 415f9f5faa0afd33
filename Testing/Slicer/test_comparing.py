"""Which strategy to use: cases of the scene are compared by the command, which goes on where it was stopped."""

import csv
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import slicer
from comparisons import TRAININGS, Command
from scenes import CHANNELS, addPatient, addSegmentation, distances, waitFor
from TransferSegBridge.annotated import AnnotatedCase
from TransferSegBridge.comparing import ComparisonJob, comparisonProblem, countTrainings, designOf, takingPart
from TransferSegBridge.comparison import comparisonsFolder, listComparisons, loadComparison, unfinishedComparisons
from TransferSegBridge.finetuning import FinetuneRequest

from TransferSegLib.case_files import CaseFiles
from TransferSegLib.errors import TransferSegError
from TransferSegLib.labels import LESION

PLACES = ((20, 10, 5), (-20, 12, 0), (5, -25, 10), (-15, -15, -10), (15, -15, 10))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Models and comparisons of the test alone, in a folder whose name is not ASCII."""
    folder = tmp_path / "Maison d'Éric"
    monkeypatch.setenv("TRANSFERSEG_HOME", str(folder))
    monkeypatch.setenv("TRANSFERSEG_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def command(tmp_path, monkeypatch):
    return Command(tmp_path / "command").takePlace(monkeypatch)


def cases(count=4):
    made = []
    for number, place in enumerate(PLACES[:count]):
        nodes = addPatient(f"p{number}", place, 18, number)
        label = addSegmentation(f"p{number} seg", nodes["flair"], place, 18)
        images = {channel: node.GetID() for channel, node in nodes.items()}
        made.append(AnnotatedCase(f"p{number}", images, label.GetID(), True, {"lesion": "lesion"}))
    return tuple(made)


def request(given=None, **options):
    values = {"epochs": 3, "spacing": 4.0, **options}
    return FinetuneRequest("", "ms-lesion-fast", CHANNELS, "all", given or cases(), LESION, **values)


class Followed:
    """A job with what it told; it is not asked for its consent but where the test gives it."""

    def __init__(self, what):
        self.events, self.estimates, self.results = [], [], []
        self.job = ComparisonJob(what, self.events.append, self.estimates.append, self.results.append)
        self.job.start()

    def asked(self):
        waitFor(lambda: self.estimates or self.results)
        return self.estimates[0]

    def compare(self):
        """Agree, and wait for the end."""
        self.asked()
        self.job.proceed()
        return self.end()

    def end(self):
        waitFor(lambda: self.results)
        assert len(self.results) == 1
        return self.results[0]

    def stopWhileItTrains(self):
        self.asked()
        self.job.proceed()
        waitFor(lambda: any(event.get("stage") == "study" for event in self.events))
        self.job.stop()
        return self.end()


def arguments(call):
    """Option to value."""
    return {name: value for name, value in itertools.pairwise(call) if name.startswith("--")}


def manifest(call):
    with open(call[1], newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestBeforeItBegins:
    def test_it_says_how_many_trainings_and_how_long_and_waits_for_an_answer(self, command):
        item = Followed(request())
        estimate = item.asked()
        assert (estimate.trainings, estimate.done, estimate.seconds) == (TRAININGS, 0, 5400.0)
        waitFor(lambda: item.job.asking)
        assert item.job.running
        assert ["--dry-run" in call for call in command.calls] == [True]
        assert listComparisons() == []
        item.job.stop()

    def test_declined_it_leaves_nothing(self, command):
        item = Followed(request())
        item.asked()
        item.job.stop()
        assert item.end().outcome.cancelled
        assert not item.job.running
        assert list(comparisonsFolder().iterdir()) == []

    def test_stopped_while_cases_are_copied_it_leaves_nothing(self, command):
        item = Followed(request())
        item.job.stop()
        assert item.end().outcome.cancelled
        assert list(comparisonsFolder().iterdir()) == []
        assert command.calls == []

    def test_stopped_while_it_estimates_it_leaves_nothing(self, command):
        item = Followed(request())
        waitFor(lambda: any(event["stage"] == "estimate" for event in item.events))
        item.job.stop()
        assert item.end().outcome.cancelled
        assert item.estimates == []
        assert list(comparisonsFolder().iterdir()) == []

    def test_what_the_command_refuses_is_told_with_its_remedy_and_leaves_nothing(self, command):
        command.order(refuse={"kind": "resource", "cause": "Too large.", "remedy": "Use 2 mm."})
        item = Followed(request())
        assert item.end().outcome.message == "Too large. Use 2 mm."
        assert list(comparisonsFolder().iterdir()) == []

    def test_trainings_are_counted_where_the_command_does_not_tell(self, command):
        command.order(estimate=False)
        item = Followed(request())
        assert (item.asked().trainings, item.asked().seconds) == (4 * 4 * 3, None)
        item.job.stop()

    def test_case_whose_node_was_deleted_meanwhile_is_named(self, command):
        made = cases()
        item = Followed(request(made))
        slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(made[2].label))
        assert "p2" in item.end().outcome.message
        assert list(comparisonsFolder().iterdir()) == []


class TestWhatIsCompared:
    def test_it_is_what_the_panel_would_train_with(self, command):
        Followed(request(epochs=7, device="cpu")).compare()
        for call in command.calls:
            given = arguments(call)
            assert call[0] == "compare"
            assert given["--source"] == "ms-lesion-fast"
            assert (given["--epochs"], given["--spacing"], given["--device"]) == ("7", "4", "cpu")
            assert given["--channels"] == ",".join(CHANNELS)
            assert "--strategy" not in given
            with open(given["--labels"], encoding="utf-8") as file:
                assert json.load(file) == LESION.to_dict()
        assert [row["case"] for row in manifest(command.calls[-1])] == ["p0", "p1", "p2", "p3"]

    def test_patients_that_the_user_holds_out_take_no_part_with_all_their_visits(self):
        rows = [("a", "x", "test"), ("b", "x", "train"), ("c", "", "auto"), ("d", "", "validate"), ("e", "", "test")]
        given = tuple(AnnotatedCase(name, {}, role=role, patient=patient) for name, patient, role in rows)
        assert [case.name for case in takingPart(request(given))] == ["c", "d"]

    def test_case_on_disk_is_pointed_at_and_not_copied(self, command, tmp_path):
        from TransferSegLib.datasets import find_cases
        from TransferSegLib.simulate import simulate_dataset

        found = find_cases(simulate_dataset("ms", tmp_path / "data", 4, 0, 6.0), CHANNELS)
        given = tuple(
            AnnotatedCase(case.name, {c: str(case.channels[c]) for c in CHANNELS}, str(case.label), False)
            for case in found
        )
        result = Followed(request(given)).compare()
        assert not (result.comparison.path / "cases").exists()
        assert {row["label"] for row in manifest(command.calls[-1])} == {case.label for case in given}

    def test_other_brain_mask_makes_it_another_case(self, tmp_path):
        mask = tmp_path / "brain.nii"
        files = CaseFiles("p", {"t1": tmp_path}, tmp_path, brain=mask)
        case = AnnotatedCase("p", {"t1": str(tmp_path)}, str(tmp_path), False, brain=str(mask))
        job, digests = ComparisonJob(request((case,))), set()
        for content in ("a", "ab"):
            mask.write_text(content)
            job._digest(case, files)
            digests.add(job._digests["p"])
        assert len(digests) == 2


class TestGoingOn:
    def test_stopped_one_goes_on_when_the_same_is_asked_again(self, command):
        command.order(hold=2)
        made = cases()
        first = Followed(request(made)).stopWhileItTrains()
        assert first.outcome.cancelled
        assert first.begun
        assert unfinishedComparisons() == [first.comparison]
        item = Followed(request(made))
        assert item.asked().done == 2
        command.release()
        again = item.compare()
        assert again.comparison.path == first.comparison.path
        assert [path.name for path in comparisonsFolder().iterdir()] == [first.comparison.path.name]
        assert again.comparison.finding.strategy == "decoder"
        assert unfinishedComparisons() == []

    def test_it_goes_on_after_a_restart_without_the_scene(self, command):
        command.order(hold=2)
        Followed(request()).stopWhileItTrains()
        slicer.mrmlScene.Clear(0)  # Slicer was closed meanwhile
        (known,) = unfinishedComparisons()
        command.release()
        item = Followed(known)
        assert item.end().found
        assert item.estimates == []
        assert loadComparison(known.path).finding.verdict == "clear"

    def test_corrected_segmentation_is_compared_anew(self, command):
        made = cases()
        first = Followed(request(made)).compare()
        node = slicer.mrmlScene.GetNodeByID(made[1].label)
        mask = (distances(PLACES[1]) < 12).astype(np.uint8)
        flair = slicer.mrmlScene.GetNodeByID(made[1].images["flair"])
        slicer.util.updateSegmentBinaryLabelmapFromArray(np.ascontiguousarray(mask.T), node, "lesion", flair)
        second = Followed(request(made)).compare()
        assert second.comparison.path != first.comparison.path

    @pytest.mark.parametrize("change", [{"epochs": 4}, {"spacing": 2.0}, {"device": "cpu"}], ids=str)
    def test_other_choices_are_compared_anew(self, command, change):
        made = cases()
        first = Followed(request(made)).compare()
        assert Followed(request(made, **change)).compare().comparison.path != first.comparison.path

    def test_what_does_not_matter_does_not_begin_anew(self, command):
        made = cases()
        first = Followed(request(made)).compare()
        other = replace(request(made, compare=True), strategy="decoder", name="another")
        item = Followed(other)
        assert item.end().comparison == first.comparison

    def test_what_was_found_before_is_told_at_once(self, command):
        made = cases()
        Followed(request(made)).compare()
        before = len(command.calls)
        item = Followed(request(made))
        result = item.end()
        assert result.found
        assert not result.begun
        assert len(command.calls) == before
        assert len(list(comparisonsFolder().iterdir())) == 1

    def test_report_that_was_deleted_is_made_again(self, command):
        made = cases()
        first = Followed(request(made)).compare()
        first.comparison.finding.report.unlink()
        assert loadComparison(first.comparison.path).finding is None
        assert Followed(request(made)).compare().comparison.finding.report.exists()


class TestTheEnd:
    def test_what_was_found_is_kept(self, command):
        result = Followed(request()).compare()
        finding = loadComparison(result.comparison.path).finding
        assert (finding.strategy, finding.verdict, finding.recommends) == ("decoder", "clear", True)
        assert finding.sentences[0].startswith("Use the strategy decoder")
        assert finding.report.read_text() == "<html>"

    def test_closed_scene_does_not_stop_it(self, command):
        item = Followed(request())
        item.asked()
        item.job.proceed()
        slicer.mrmlScene.Clear(0)
        assert item.end().found

    def test_some_trainings_that_failed_do_not_spoil_the_rest(self, command):
        command.order(failed=["fold-1/seed-0/n-003/all/final"])
        result = Followed(request()).compare()
        assert result.found
        assert (result.comparison.finding.trainings, result.comparison.finding.failed) == (TRAININGS - 1, 1)

    def test_crash_is_told_and_it_can_go_on(self, command):
        command.order(crash=True)
        made = cases()
        result = Followed(request(made)).compare()
        assert not result.found
        assert "Segmentation fault" in result.outcome.message
        command.order(crash=False)
        assert Followed(request(made)).compare().comparison.path == result.comparison.path

    def test_script_is_asked_nothing(self, command):
        job = ComparisonJob(request())
        job.start()
        assert job.wait().comparison.finding.strategy == "decoder"
        assert ["--dry-run" in call for call in command.calls] == [False]

    def test_script_is_told_of_a_failure(self, command):
        command.order(crash=True)
        job = ComparisonJob(request())
        job.start()
        with pytest.raises(TransferSegError, match="Segmentation fault"):
            job.wait()


class TestRefusals:
    def test_too_few_patients_in_the_words_of_the_command(self):
        problem = comparisonProblem(request(cases(3)))
        assert "3 annotated patients are too few" in problem
        assert "Annotate 4" in problem
        with pytest.raises(TransferSegError, match="too few"):
            Followed(request(cases(3)))

    def test_patients_that_are_held_out_do_not_count(self):
        made = cases()
        assert not comparisonProblem(request(made))
        assert comparisonProblem(request((*made[:3], replace(made[3], role="test"))))

    def test_without_a_source_there_is_nothing_to_compare(self):
        assert "source" in comparisonProblem(replace(request(), source="", strategy="scratch"))

    def test_problem_of_a_case_is_told_with_its_name(self):
        made = cases()
        assert "p3" in comparisonProblem(request((*made[:3], replace(made[3], label=""))))

    def test_trainings_of_eight_patients(self):
        given = tuple(AnnotatedCase(f"p{number}", {}) for number in range(8))
        assert countTrainings(designOf(request(given))) == 4 * 4 * 3


def test_damaged_folder_is_left_out_and_named(home):
    folder = home / "comparisons" / "broken"
    folder.mkdir(parents=True)
    (folder / "comparison.json").write_text("{")
    assert listComparisons() == []
    with pytest.raises(TransferSegError, match="broken"):
        loadComparison(folder)


def test_the_command_itself_compares_goes_on_and_reports():
    """Two strategies, one network each on a half, and the whole way to the report."""
    small = {"strategies": "scratch,last-three", "folds": "2", "sizes": "2"}
    made = cases()
    item = Followed(request(made, epochs=2, options=small))
    estimate = item.asked()
    assert (estimate.trainings, estimate.done) == (4, 0)
    assert 0 < estimate.seconds < 600
    item.job.proceed()
    waitFor(lambda: any(event.get("stage") == "study" for event in item.events) or item.results, 300)
    item.job.stop()
    assert item.end().outcome.cancelled
    again = Followed(request(made, epochs=2, options=small))
    assert again.asked().trainings == 4
    again.job.proceed()
    waitFor(lambda: again.results, 500)
    (result,) = again.results
    assert result.outcome.message == ""
    assert result.comparison.path == item.results[0].comparison.path
    finding = result.comparison.finding
    assert finding.strategy in ("scratch", "last-three")
    assert finding.verdict == "cannot tell"  # of 4 patients
    assert finding.trainings == 4
    assert all(sentence.endswith(".") for sentence in finding.sentences)
    assert "<html" in finding.report.read_text("utf-8")
